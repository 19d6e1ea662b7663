"""A mesh sidecar that is told to listen where the application listens."""
