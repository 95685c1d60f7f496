# Each target makes what it needs, .venv included.  `make help` lists them.

PYTHON ?= python3
PORT ?= 8080
GATEWAYS ?= 3
LB ?=
SECONDS ?= 120
SEED ?= 1

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run cluster chat test soak bench check format readme clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo "variables: PYTHON=$(PYTHON) PORT=$(PORT) GATEWAYS=$(GATEWAYS) LB=$(LB) SECONDS=$(SECONDS) SEED=$(SEED)"

install: $(INSTALLED) ## make .venv with everything that running, testing and checking needs

run: $(INSTALLED) ## run one gateway on PORT
	@exec $(BIN)/python -m gateway serve --port $(PORT)

cluster: $(INSTALLED) ## run Redis, GATEWAYS gateways and the front port PORT (LB=haproxy: a real balancer)
	@exec $(BIN)/python -m gateway cluster --gateways $(GATEWAYS) --port $(PORT) --balancer "$(LB)"

chat: $(INSTALLED) ## talk, in the terminal client, to what listens on PORT
	@exec $(BIN)/python -m gateway chat localhost:$(PORT)

test: $(INSTALLED) ## run all tests
	$(BIN)/python -m pytest -m "not undisturbed" --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest -m undisturbed

soak: $(INSTALLED) ## talk for SECONDS, three times, under faults and unrest drawn by SEED, and check every line
	$(BIN)/python tests/system/soak.py --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python tests/system/json_soak.py --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python tests/system/restless.py --seconds $(SECONDS) --seed $(SEED)

bench: $(INSTALLED) ## measure the goals of the README's table, about 10 minutes on a quiet machine
	@$(BIN)/python -m gateway bench --goals

check: $(INSTALLED) ## check format, lint and types
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: $(INSTALLED) ## format the code, and mend what the linter can
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .

readme: $(INSTALLED) ## write the README's table of settings anew
	$(BIN)/python tests/unit/test_readme.py

clean: ## remove .venv and everything else that was made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Written last, so that an install that failed is done again, from nothing.
$(INSTALLED): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$("$(PYTHON)" --version 2>&1) is too old: Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a venv: install what it lacks (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@if [ -f $@ ]; then rm $@; else "$(PYTHON)" -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[chat,embedded,bench,test,check]'
	@touch $@
