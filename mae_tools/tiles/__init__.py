"""Whole slides cut into tiles."""
