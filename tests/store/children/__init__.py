"""Programs that the store's tests run as processes of their own, to kill, stop and starve them."""
