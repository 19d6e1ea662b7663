"""The bot: a ticket goes in, a repaired and validated deployment comes out. Uses the public names of holdfast only."""
