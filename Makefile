# Everything a newcomer needs; each target sets up its own environment first. See README.md.
SHELL := bash
PYTHON ?= python3
VENV ?= .venv
BUNDLE ?= btcv_unetr_mae
OUT ?= demo_output/$(BUNDLE)
BIN := $(abspath $(VENV))/bin

.PHONY: setup demo test lint bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 12), "Python 3.11 or 3.12 is needed, found " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet setuptools==84.2.1 wheel==0.45.1
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# make demo [BUNDLE=...] [DATASET_DIR=... [DATALIST=...]] [OUT=...] [ARGS="--spacing '[1,1,1]' ..."]
demo: setup
	$(BIN)/python -m mae_tools demo $(BUNDLE) --out "$(OUT)" \
		$(if $(DATASET_DIR),--dataset_dir "$(DATASET_DIR)") $(if $(DATALIST),--datalist "$(DATALIST)") $(ARGS)

# One test process a core, at most four (each takes up to 1.5 GB), and one thread each. They start a hundred commands:
# without compiled files each would compile all anew, also where an image for containers says to write none.
test: setup
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: setup
	@if git ls-files -ci --exclude-standard 2>/dev/null | grep .; then echo "Error: these files are ignored and yet in git."; exit 1; fi
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/black --check --quiet --skip-magic-trailing-comma --line-length 120 custom_components bundle_runtime mae_tools
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup
	$(BIN)/python benchmarks/pretrain_step.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/images.py
	$(BIN)/python benchmarks/memory.py

clean:
	rm -rf demo_output dist bundles/*/models bundles/*/eval bundles/*/cache
