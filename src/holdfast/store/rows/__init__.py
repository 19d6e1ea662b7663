"""How things lie in a record: digests and the chain of the journal, deltas, copies, and large values in chunks.

What is kept, not which change is kept: that is up to `decisions`.
"""
