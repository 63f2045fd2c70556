"""Weights files shown, converted and verified."""
