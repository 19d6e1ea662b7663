"""From a snapshot to a ranked list of causes. One rule is one small file, with its family in `rules`; `diagnose` asks
them all and ranks what they find, a cause before what it explains. Everything here is pure.
"""
