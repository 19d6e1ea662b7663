"""Who runs durable steps: holdfast and its peers, each in a process of its own, so that none disturbs another.

A contestant is a module with `async def run(place, size) -> Measured`: it opens its database in the folder, or at the
PostgreSQL URL, `place` and hands one run to `waves.measured`, which does the rest alike for all. A step adds one to a
number, in an async body, and is durable before the next body starts; in the first run a witness looks whether it is.
"""
