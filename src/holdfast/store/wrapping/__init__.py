"""Stores in front of another one: what they all pass on to it, and the one that seals bodies by a codec.

The two that join back ends are folders of their own, `mirror` and `fallback`; they pass on by the same `wrapper`.
"""
