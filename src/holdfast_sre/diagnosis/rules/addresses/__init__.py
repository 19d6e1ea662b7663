"""Services that are not there, or not at the port that several others expect."""

ORDER = ("service_port", "service_missing")
