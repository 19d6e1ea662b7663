"""Disruption budgets that let no pod go, so that no node can be drained."""
