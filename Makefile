# Needs python3 (3.10 or later), make and a package index; the rest is set up in a private .venv.
#   make PYTHON=python3.12 setup      another interpreter
#   make CUDA=12 setup                CuPy for CUDA 12 or 13 (default: what the driver offers), CUDA= none

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
CUDA ?= $(shell nvidia-smi 2>/dev/null | sed -nE 's/.*CUDA[A-Za-z ]*Version: *([0-9]+).*/\1/p')

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COMMA := ,
EXTRAS = dev$(addprefix $(COMMA)cuda,$(filter 12 13,$(CUDA)))

# The first reaches pip's build environments up to pip 26.1, the second from pip 25.3.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup test check lint format test-matrix test-gpu denoise-gaussian bench bench-gpu clean

help: ## list the targets
	@echo "make TARGET, where TARGET is"
	@sed -nE 's/^([a-z][a-z-]*):[^#]*## (.*)/  \1 \2/p' $(MAKEFILE_LIST) | \
		while read -r target text; do printf '  %-18s %s\n' "$$target" "$$text"; done

setup: $(INSTALLED) ## install everything into .venv (at once if nothing changed)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "expected Python 3.10 or later, found: $$($(PYTHON) --version 2>&1);" \
			"install one and run: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "expected a Python with the venv module, found $(PYTHON) without;" \
			"on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[$(EXTRAS)]'
	@touch $@

test: check ## everything that has to pass before a commit, and what CI runs

check: lint $(INSTALLED) ## ruff, mypy, all tests with coverage
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term

lint: $(INSTALLED) ## ruff: rules and format, nothing is changed
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

format: $(INSTALLED) ## ruff: format and repair what it can
	$(BIN)/python -m ruff format
	$(BIN)/python -m ruff check --fix

test-matrix: ## the quick tests on every Python 3.10 to 3.13 found, with its oldest and newest NumPy
	.ci/test-matrix

test-gpu: $(INSTALLED) ## the tests that need a GPU (PIXELRL_SHARED= for the published weights)
	$(BIN)/python -m pytest -m gpu

SIGMA ?= 25
VARIANT ?= convgru-rmc
PRESET ?= auto
WEIGHTS ?=

denoise-gaussian: $(INSTALLED) ## train, evaluate, explain (SIGMA=15|25|50 VARIANT= PRESET= WEIGHTS=)
	$(BIN)/pixelrl-chainer experiment experiments/$@/sigma$(SIGMA)-$(VARIANT).toml \
		--preset $(PRESET) $(if $(WEIGHTS),--weights '$(WEIGHTS)')

BENCH_ARGS ?=
BENCH_INSTALLED := $(VENV)/.installed-bench

# Setting up writes to standard error: with --json - the output is one document.
bench: ## ours beside stock Chainer, ONNX Runtime, OpenCV (BENCH_ARGS="--quick --json -")
	@$(MAKE) -s $(INSTALLED) >&2
	-@$(MAKE) -s $(BENCH_INSTALLED) >&2
	@$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --editable '.[bench]'
	@touch $@

bench-gpu: $(INSTALLED) ## roll-out and training rate on a GPU (BENCH_ARGS=--quick)
	$(BIN)/python benchmarks/bench_gpu.py $(BENCH_ARGS)

clean: ## remove the virtual environments and everything generated
	rm -rf $(VENV) .venv-matrix build dist src/*.egg-info .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
