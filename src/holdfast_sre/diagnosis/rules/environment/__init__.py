"""Addresses in a container's environment that no service answers: a wrong port or a wrong name."""
