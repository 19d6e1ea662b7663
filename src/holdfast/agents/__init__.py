"""One agent's call, and networks of them."""
