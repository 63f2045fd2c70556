"""Whole slides: read region by region, searched by a classifier; never held in memory as a whole."""
