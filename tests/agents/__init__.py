"""Agents, their tools, and networks of them."""
