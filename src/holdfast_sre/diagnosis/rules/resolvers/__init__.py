"""Pods with a name server of their own that does not answer."""
