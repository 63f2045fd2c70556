"""How well frozen features tell labels apart."""
