"""Tests of the room `limits`: its rules by property, blocks and states on real stores and in processes of their own."""
