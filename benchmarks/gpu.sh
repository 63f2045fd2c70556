#!/usr/bin/env bash
# Everything that is to be known about one NVIDIA GPU, in nine minutes, from a bare machine with Python 3.11 or 3.12.
#
#   benchmarks/gpu.sh                                  # what is installed, or else from the package index
#   WHEELS=<folder> benchmarks/gpu.sh                  # what is missing comes from the wheels of a folder
#   benchmarks/gpu.sh --device cpu --quick             # a dry run at toy sizes
#   benchmarks/gpu.sh --minutes 4 --out <folder>       # a piece of it; the next call goes on where this one stopped
#   benchmarks/gpu.sh --dataset_dir <BTCV> --datalist <its list>   # the comparison at the end on real CTs
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import monai, ignite, einops, nibabel, pydicom, skimage, sklearn, safetensors, openslide' 2>/dev/null; then
  if [ ! -x .venv-gpu/bin/python ]; then
    "$PYTHON" -m venv --system-site-packages .venv-gpu # keeps a PyTorch with CUDA that is there
  fi
  PYTHON=$PWD/.venv-gpu/bin/python
  if [ -n "${WHEELS:-}" ]; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
  else
    "$PYTHON" -m pip install --quiet -r requirements.txt
  fi
fi
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" benchmarks/gpu.py "$@"
