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
.PHONY: help setup test check lint format test-matrix test-gpu bench bench-gpu clean \
	denoise-gaussian denoise-poisson denoise-saltpepper restore-text color-foreground-popout \
	color-local-xpro color-watercolor saliency ablation-actions ablation-tmax training-curve \
	action-histogram action-maps tables rl-restore-tools rl-restore-agent rl-restore-joint \
	rl-restore-eval rl-restore-ablation

help: ## list the targets
	@echo "make TARGET, where TARGET is"
	@sed -nE 's/^([a-z][a-z-]*):[^#]*## (.*)/  \1 \2/p' $(MAKEFILE_LIST) | \
		while read -r target text; do printf '  %-24s %s\n' "$$target" "$$text"; done

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

# Experiments: what is finished is not done again, so the same command continues.
#   PRESET=quick  minutes on a CPU, labelled so; paper: the published schedule; auto: quick on a CPU
#   VARIANT=all   every row that the paper has, or one of plain convgru convgru-rmc
#   WEIGHTS=file  nothing is trained
SIGMA ?= 25
PEAK ?= 30
DENSITY ?= 0.5
STEPS ?= 10
VARIANT ?= all
PRESET ?= auto
WEIGHTS ?=
TASK ?= denoise-gaussian
IMAGE ?= 0

RUN := $(BIN)/pixelrl-chainer
OPTIONS = --preset $(PRESET) $(if $(WEIGHTS),--weights '$(WEIGHTS)')
RECURRENT := convgru convgru-rmc
# Experiment files of the variants $(2), or of the one asked for, whose names begin with $(1).
files = $(patsubst %,experiments/$(1)%.toml,$(if $(filter all,$(VARIANT)),$(2),$(VARIANT)))

denoise-gaussian: $(INSTALLED) ## Table II: train, evaluate, draw (SIGMA=15|25|50 VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,$@/sigma$(SIGMA)-,plain $(RECURRENT)) $(OPTIONS)

denoise-poisson: $(INSTALLED) ## Table IV: Poisson noise (PEAK=120|30|10 VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,$@/peak$(PEAK)-,plain $(RECURRENT)) $(OPTIONS)

denoise-saltpepper: $(INSTALLED) ## Table V: salt and pepper (DENSITY=0.1|0.5|0.9 VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,$@/density$(DENSITY)-,plain $(RECURRENT)) $(OPTIONS)

restore-text: $(INSTALLED) ## Table VI: images under text (VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,$@/,$(RECURRENT)) $(OPTIONS)

color-foreground-popout: $(INSTALLED) ## Table VIII: Foreground Pop-Out (VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,color/foreground-popout-,$(RECURRENT)) $(OPTIONS)

color-local-xpro: $(INSTALLED) ## Table VIII: Local Xpro (VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,color/local-xpro-,$(RECURRENT)) $(OPTIONS)

color-watercolor: $(INSTALLED) ## Table VIII: Watercolor (VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,color/watercolor-,$(RECURRENT)) $(OPTIONS)

saliency: $(INSTALLED) ## Table IX: saliency-driven editing (STEPS=5|10|15 VARIANT= PRESET= WEIGHTS=)
	$(RUN) experiment $(call files,$@/steps$(STEPS)-,$(RECURRENT)) $(OPTIONS)

ablation-actions: $(INSTALLED) ## Table III: four sets of actions (SIGMA= PRESET=)
	$(RUN) study actions experiments/denoise-gaussian/sigma$(SIGMA)-convgru.toml --preset $(PRESET)

ablation-tmax: $(INSTALLED) ## Fig. 8: episodes of 5, 10, 15, 20 steps, images under text (VARIANT= PRESET=)
	$(RUN) study tmax $(call files,restore-text/,$(RECURRENT)) --preset $(PRESET)

training-curve: $(INSTALLED) ## Fig. 3: reward of five trainings, sigma 15 (PRESET=)
	$(RUN) study curve experiments/denoise-gaussian/sigma15-convgru.toml --preset $(PRESET)

action-histogram: $(INSTALLED) ## Fig. 2: actions of each step, sigma 50 (PRESET= WEIGHTS=)
	$(RUN) study histogram experiments/denoise-gaussian/sigma50-convgru-rmc.toml $(OPTIONS)

# The file of the task's own level; its weights decide the variant.
MAPS_denoise-gaussian := sigma25-
MAPS_denoise-poisson := peak30-
MAPS_denoise-saltpepper := density0.5-
MAPS_color := watercolor-
MAPS_saliency := steps10-

action-maps: $(INSTALLED) ## Figs. 4, 6, 9, 11: state and actions of each step (TASK= IMAGE=0 PRESET= WEIGHTS=)
	$(RUN) study maps experiments/$(TASK)/$(MAPS_$(TASK))convgru-rmc.toml --image $(IMAGE) $(OPTIONS)

# WEIGHTS=folder: its tools are used, none are trained; rl-restore-eval scores them. DATA=folder: pairs.
DATA ?=
RESTORE = $(RUN) rl-restore experiment $(@:rl-restore-%=%) $(OPTIONS) $(if $(DATA),--data '$(DATA)')

rl-restore-tools: $(INSTALLED) ## RL-Restore, Table 1: train the 12 tools (PRESET=)
	$(RESTORE)

rl-restore-agent: $(INSTALLED) ## RL-Restore: tools, then the agent (PRESET= WEIGHTS=)
	$(RESTORE)

rl-restore-joint: $(INSTALLED) ## RL-Restore: tools, agent, then both (PRESET= WEIGHTS=)
	$(RESTORE)

rl-restore-eval: $(INSTALLED) ## RL-Restore, Table 3: scores (PRESET= WEIGHTS= DATA=)
	$(RESTORE)

rl-restore-ablation: $(INSTALLED) ## RL-Restore, Tables 4 to 7, Fig. 6 (PRESET= WEIGHTS= DATA=)
	$(RESTORE)

tables: $(INSTALLED) ## all results below runs and results beside the paper's, each with a mark
	$(RUN) tables

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
