"""Shared parts of the masked-autoencoder bundles: networks, masking, losses, weights, data, handlers, metrics."""

__version__ = "0.1.0"
