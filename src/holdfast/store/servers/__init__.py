"""What stands between a store and a server that may be away: its breaker, its clock, a client per event loop.

Nothing of a server's language: that is in the back ends' own folders. No driver is loaded before it is asked for.
"""
