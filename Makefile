# Everything a newcomer types. Each target makes .venv on first use; after that, all of them work offline.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

# torch first and pinned: an open range would fetch gigabytes of CUDA libraries.
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test check format up checkpoints bench study attacks clean

help:
	@echo "make demo          attack the shipped models over HTTP, print the ARP table, write a report (QUICK=1: a minute)"
	@echo "make up            run the whole service here; prints its URL and an API key"
	@echo "make test          the test suite, against a real PostgreSQL, Valkey and Celery workers"
	@echo "make check         ruff, mypy --strict, import-linter"
	@echo "make format        let ruff format the code"
	@echo "make bench         what is measured, measured again"
	@echo "make study         six layouts, six ways of training, every objective, as one study: docs/results/scenes.md (an hour; QUICK=1: minutes)"
	@echo "make attacks       every attack on fifteen layouts at four eps: docs/results/attacks.md (about an hour)"
	@echo "make checkpoints   train the shipped models again"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Windthrow needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@echo "Installing into $(VENV), this once: about a minute on a fast line."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[worker,local,s3,demo,dev]' --constraint constraints.txt
	@touch $@

demo: $(READY)
	@$(BIN)/windthrow-server demo $(if $(QUICK),--quick)

up: $(READY)
	@$(BIN)/windthrow-server up

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python bench/layouts.py
	$(BIN)/python bench/scenes.py
	$(BIN)/python bench/attack_step.py --check
	$(BIN)/python -m bench.prepared --check
	$(BIN)/python bench/finalise.py --check
	$(BIN)/python -m bench.training --check
	$(BIN)/python -m bench.upload --check
	$(BIN)/python -m bench.dataset
	$(BIN)/python -m bench.gate --check
	QUICK=$(QUICK) $(BIN)/python -m bench.looks

study: $(READY)
	QUICK=$(QUICK) $(BIN)/python -m bench.study

attacks: $(READY)
	$(BIN)/python -m bench.attacks

checkpoints: $(READY)
	$(BIN)/python -m worker.demo.train

clean:
	rm -rf $(VENV) .windthrow .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
