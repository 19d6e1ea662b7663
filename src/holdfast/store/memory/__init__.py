"""The store in memory: the model that every other back end is compared with. Nothing of it outlives its process."""

from holdfast.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
