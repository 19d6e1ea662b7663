"""How the store is kept small: what may go, and who removes it."""
