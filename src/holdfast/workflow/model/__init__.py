"""What a workflow is, as it is declared and as it is built, and what a run of it is, as it is stored. Values."""
