"""Every load, rename, resample and save of weights: encoders travel between files and networks with a report.

The parameter names and layouts are those of MONAI's `ViT`. Files of Facebook's MAE, timm and the SelfMedMAE code are
recognised by their names and converted; nothing is skipped silently.
"""
