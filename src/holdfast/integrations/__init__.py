"""Extras: what connects holdfast with other systems, each a door of its own that is imported by its name.

They use the front door's names only, as any program does, and are loaded by nothing else, so that an installation
without the extra misses nothing. `celery` hands runs to the workers of a Celery app; `pydantic_ai` and `langgraph`
make agents of those of other frameworks; `aes_gcm` encrypts payloads, `masked` shows them to operators with masks.
"""
