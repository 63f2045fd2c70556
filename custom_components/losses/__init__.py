"""Losses of pre-training (reconstruction, self-distillation) and of what follows it."""
