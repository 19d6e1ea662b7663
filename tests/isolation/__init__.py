"""Two users and the whole public surface: what one does looks the same whether the other is there or not."""
