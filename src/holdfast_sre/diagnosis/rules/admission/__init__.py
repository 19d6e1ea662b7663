"""Objects that an admission webhook or policy keeps from being created."""

ORDER = ("webhook_away", "webhook_denied", "quota_unspecified")
