"""Containers that cannot be configured or mounted: a secret, a config map or one of their keys is missing."""

ORDER = ("reference_missing", "reference_key_missing")
