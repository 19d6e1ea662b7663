"""Tests of the room `state`: on every kind of store."""
