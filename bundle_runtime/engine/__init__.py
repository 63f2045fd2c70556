"""The handlers of a run.

Each handler has `attach(engine)` and so goes into the `train_handlers` or `val_handlers` list of a MONAI engine;
`standard.StandardHandlers` attaches those of every training. `RunManifest` comes first of them (its failure hook must
stand before MONAI's `StatsHandler`, which raises at once); the order of the others is free: whatever must run after
validation (the history row, early stopping, then the checkpoint) registers itself late.
"""
