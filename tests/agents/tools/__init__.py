"""Tools: who may, what fits, what is bounded, and what is on record."""
