"""Redis with a fallback to memory."""
