"""The bot's workflow: its chart with SPEC's states, what a run knows (`incident`), and the work of each state
(`analysis`, `repair`) over one `World` of ports. `bot` runs it.
"""
