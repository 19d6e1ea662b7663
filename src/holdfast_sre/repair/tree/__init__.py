"""A tree of manifests as it lies in files: what it declares, what builds it, and edits that keep every other byte.

Nothing here knows of diagnoses, and nothing runs a program.
"""
