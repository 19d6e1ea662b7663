"""Applications that cannot use their database: refused credentials, wrong port, no connection left, read-only.

What the driver says is matched by class. Whose fault it is follows from how many clients say it, and from whether
the client's own settings differ from those of the other clients of the same server.
"""

ORDER = (
    "database_host",
    "database_credentials",
    "database_port",
    "database_connections",
    "database_read_only",
)
