"""Jobs that gave up, and cron jobs that start none."""

ORDER = ("job_failed", "cron_schedule", "cron_deadline", "cron_suspended")
