"""Every load, rename, resample and export of weights: encoders travel between files and networks with a report.

The parameter names and layouts are those of MONAI's `ViT`. Files of Facebook's MAE, timm and the SelfMedMAE code are
recognised by their names and converted; nothing is skipped silently.
"""

from .adapt import adapt
from .describe import architecture, find_vit
from .export import export_monai, to_monai_vit_state
from .io import read_sidecar, read_state_dict, sha256_of, sidecar_path
from .layouts import recognise
from .load import init_network, load_encoder, load_network
from .report import Report
from .save import save_encoder, save_network

__all__ = [
    "Report",
    "adapt",
    "architecture",
    "export_monai",
    "find_vit",
    "init_network",
    "load_encoder",
    "load_network",
    "read_sidecar",
    "read_state_dict",
    "recognise",
    "save_encoder",
    "save_network",
    "sha256_of",
    "sidecar_path",
    "to_monai_vit_state",
]
