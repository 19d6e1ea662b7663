"""What was there when all was well: the history of the manifests, what the cluster remembers, and what siblings say.

Of these a repair takes its values; it makes up none.
"""
