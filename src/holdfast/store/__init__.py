"""What survives. Records with versions, changes that commit whole or not at all, a journal whose rows chain together.

`rules` judges a batch of changes and is pure; `memory` (the model) and `sqlite` carry its judgement out. `protocol`
and `records` are the contract; `holdfast.testing.conformance` states it as tests. `open.open_store` turns a URL into a
store.
"""
