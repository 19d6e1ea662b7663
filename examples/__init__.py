"""Programs that show holdfast at work, each run by a test."""
