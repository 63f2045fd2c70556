"""Datalists, their checks, dataset sources, caching and the synthetic demo sets."""
