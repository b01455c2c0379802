# `make help` lists the targets. Every target sets up what it needs in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUILDER ?= docker
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-mutants lint format bench docs lock audit licences image golden clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## Install the locked packages into .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> Installing about 280 locked packages (6 GB with PyTorch; 3 to 6 minutes, no output meanwhile)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@echo "==> Installing covid_debug itself"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## Run the whole loop on the embedded phantom radiographs (minutes)
	@$(BIN)/covid-debug demo

test: $(STAMP)  ## Run the test suite (minutes)
	@echo "==> Running the tests on 2 processes"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(STAMP)  ## Run the slow tests as well (tens of minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "slow and not gpu" --ignore=tests/mutants

test-mutants: $(STAMP)  ## Plant small faults into the library; each must fail a test (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/mutants

lint: $(STAMP)  ## Check style, types and import layers
	@echo "==> Checking style (ruff), types (mypy) and import layers (lint-imports)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix -q . || true
	@$(BIN)/ruff format .

FILMS ?= ../shared/data/covidx-sources

bench: $(STAMP)  ## Run the benchmarks (text needs FILMS=folder of the public sources)
	@$(BIN)/covid-debug bench saliency --out benchmarks/out/saliency
	@$(BIN)/covid-debug bench audit --out benchmarks/out/audit
	@$(BIN)/covid-debug bench clean --out benchmarks/out/clean
	@test -d $(FILMS) && $(BIN)/covid-debug bench text --data $(FILMS) --out benchmarks/out/text || \
	  echo "bench text left out: no folder $(FILMS)"

docs: $(STAMP)  ## Build the documentation into site/ (no network)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

golden: $(STAMP)  ## Rewrite the golden saliency maps and show what changed
	@$(BIN)/python tests/golden/rewrite.py

lock: $(STAMP)  ## Resolve requirements.lock again from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra all --group dev --group craft --group docs \
	  --universal --python-version 3.11 --no-emit-index-url --no-annotate --generate-hashes -q -o requirements.lock

audit: $(STAMP)  ## Ask PyPI for known vulnerabilities of the locked packages (network)
	@echo "==> Asking PyPI about each locked package; no answer about one of them counts as a failure"
	@said=$$($(BIN)/pip-audit --strict --disable-pip --progress-spinner off -r requirements.lock 2>&1) && \
	  { echo "$$said"; exit; }; \
	case $$said in *"Traceback"*|*"could not be audited"*) \
	  echo "error: PyPI's list of vulnerabilities cannot be reached ($${said##*$$'\n'}); try again with a network";; \
	  *) echo "$$said";; esac; exit 1

licences: $(STAMP)  ## Check the licence of each locked package (no network)
	@$(BIN)/python -m tests.packaging.licences

image:  ## Build the container image covid-debug (docker, or BUILDER=podman)
	@$(BUILDER) build -t covid-debug .

clean:  ## Remove caches (keeps .venv, data and reports)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
