"""Datalists, picture and volume files, caches, data sets, and the inputs of an inference."""
