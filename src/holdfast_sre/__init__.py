"""The bot: a ticket goes in, a repaired and validated deployment comes out. Uses the public names of holdfast only.

Its rooms, from the street's lower end: `evidence` (what is known about a cluster), `diagnosis` (causes, one rule a
file), `repair` (the patch), `ports` (what it needs of the world), `local` (their versions on one machine), `flow` (the
workflow), `evaluation` and `report`, `cli`.
"""
