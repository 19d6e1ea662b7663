"""Namespaces whose quota keeps something from being created."""
