"""What every store is asked for: the values that it takes and gives, its protocols, and what some offer beyond.

Nothing here decides or does anything. `holdfast.testing.conformance` states the same contract as tests.
"""
