"""Volumes that cannot be had for other reasons than a mismatch: no such claim, no such class, held elsewhere."""

ORDER = ("claim_missing", "claim_class_missing", "volume_held", "volume_far")
