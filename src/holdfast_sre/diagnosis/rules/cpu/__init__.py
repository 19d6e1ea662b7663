"""Services starved of CPU: throttled while they use far more for a request than before."""
