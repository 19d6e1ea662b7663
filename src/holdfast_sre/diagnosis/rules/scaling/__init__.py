"""Autoscalers that cannot scale: no such target, nothing to measure, no room above."""

ORDER = ("autoscaler_target", "autoscaler_metrics", "autoscaler_limit")
