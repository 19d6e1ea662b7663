"""What `--json` prints: one shape for each thing, made from what is stored.

`drawing` draws the same shapes for people.
"""
