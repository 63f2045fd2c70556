"""Makes `slide_files.py`, the helpers of this folder, importable: pytest's importlib mode extends no path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
