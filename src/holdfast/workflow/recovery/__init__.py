"""Who finds the runs that nobody works on: by sweeps, by word from others, by schedules, by queues outside."""
