"""What one process has for all of its runs: its lease, its line, and the one function that commits a decision."""
