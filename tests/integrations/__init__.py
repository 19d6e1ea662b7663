"""Tests of the extras."""
