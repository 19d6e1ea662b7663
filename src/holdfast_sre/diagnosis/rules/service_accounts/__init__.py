"""Pods that cannot be created because their service account does not exist."""
