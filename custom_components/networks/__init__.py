"""Vision Transformers, the masked autoencoder and what is fine-tuned from its encoder."""
