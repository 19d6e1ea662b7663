"""Tests of the room `users`: its rules by property, its streams on every store, its loads in processes of their own."""
