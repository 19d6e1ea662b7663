"""Worlds drawn from seeds, in which every promise must hold, and bugs planted for each checker."""
