# What can be done here: `make help`. Needs Python 3.11 or newer, and PyPI for the first run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
BEGAN := $(shell date +%s)
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format docs bench bench-smoke clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

setup: $(VENV)/installed-dev ## make .venv with everything that development needs

demo: $(VENV)/installed ## build a sample gallery, index it, query it; prints a table and a page
	@$(BIN)/python benchmarks/demo.py $(DEMO) $(BEGAN)

test: $(VENV)/installed-dev ## run the tests, in two processes (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/installed-dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

check: $(VENV)/installed-dev ## ruff, mypy, docs in step
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

format: $(VENV)/installed-dev ## format the code, and generate docs/cli.md anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/generate.py

docs: $(VENV)/installed-dev ## generate docs/cli.md anew
	$(BIN)/python docs/generate.py

bench: $(VENV)/installed-dev ## run the benchmarks; DATA=folder with clothing/ and grocery/
	$(BIN)/python benchmarks/recall.py --data $(DATA)
	$(BIN)/python benchmarks/match.py --data $(DATA)
	$(BIN)/python benchmarks/growth.py --data $(DATA)
	$(BIN)/python benchmarks/updates.py --data $(DATA)
	for part in recipes unseen ways losses unlabelled; do $(BIN)/python benchmarks/finetune.py --data $(DATA) --part $$part; done
	$(BIN)/python benchmarks/ways.py --data $(DATA)
	$(BIN)/python benchmarks/mnist.py --data $(DATA)
	for part in runtimes roofline decode pipeline query precision; do $(BIN)/python benchmarks/speed.py --data $(DATA) --part $$part; done
	$(BIN)/python benchmarks/many.py --data $(DATA)
	for name in efficientnet-lite0 resnet50 efficientnetv2b0; do $(BIN)/python benchmarks/peers.py --data $(DATA) --backbone $$name; done
	$(BIN)/python benchmarks/kinds.py
	for part in million ten-million mix; do $(BIN)/python benchmarks/index.py --part $$part; done

bench-smoke: $(VENV)/installed-dev ## run each benchmark on a few images
	$(BIN)/python benchmarks/recall.py --smoke
	$(BIN)/python benchmarks/match.py --smoke
	$(BIN)/python benchmarks/growth.py --smoke
	$(BIN)/python benchmarks/updates.py --smoke
	$(BIN)/python benchmarks/mnist.py --smoke
	$(BIN)/python benchmarks/finetune.py --smoke
	$(BIN)/python benchmarks/ways.py --smoke
	$(BIN)/python benchmarks/speed.py --smoke
	$(BIN)/python benchmarks/peers.py --smoke
	$(BIN)/python benchmarks/peer_packages.py --smoke
	$(BIN)/python benchmarks/many.py --smoke
	$(BIN)/python benchmarks/kinds.py --smoke
	$(BIN)/python benchmarks/index.py --smoke

clean: ## remove the virtual environment, the demo and all caches
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
