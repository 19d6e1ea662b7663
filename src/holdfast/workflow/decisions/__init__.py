"""What may happen to a run, and what becomes of it then: pure, one occurrence and one decision at a time."""
