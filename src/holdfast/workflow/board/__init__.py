"""What the processes on a store tell each other about their breakers."""
