"""Containers killed for want of memory."""
