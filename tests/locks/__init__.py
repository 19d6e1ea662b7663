"""Tests of the room `locks`: its rules by property, its service on real stores and in processes of their own."""
