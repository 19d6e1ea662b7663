"""Whole stores of any kind: checked, mended, copied into one another, and when they were last backed up.

The file that a backup is, is SQLite's: see `sqlite/archive.py`. What a deployment removes by age is up to
`holdfast.workflow.upkeep`.
"""
