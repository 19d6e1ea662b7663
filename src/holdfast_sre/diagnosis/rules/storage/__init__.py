"""Claims that find no volume, compared field by field with each volume; and volumes a process may not read."""

ORDER = (
    "claim_class",
    "claim_selector",
    "claim_access_mode",
    "claim_capacity",
    "claim_occupied",
    "volume_permission",
)
