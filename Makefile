# Everything a person or CI does here; `make` alone lists it. Works with Python 3.11 or 3.12 and make, nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lock fmt lint types imports test test-integration check crash-test bench bench-inside train evaluate run topics diagram clean

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PACKAGES := schemas features model dataflows observability infra
FIND_PYTHON := for p in "$(PYTHON)" python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$p" && break; done

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(INSTALLED) ## Make .venv from the hashed locks

$(INSTALLED): requirements-dev.lock
	@found="$$($(FIND_PYTHON))"; \
	if [ -z "$$found" ]; then echo "make setup: needs Python 3.11 or 3.12; name one with PYTHON=..." >&2; exit 1; fi; \
	"$$found" -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (once, about a minute) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

lock: setup ## Compute the hashed locks again from pyproject.toml (needs uv: pip install uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group dev pyproject.toml -o requirements-dev.lock

fmt: setup ## Format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix --quiet .

lint: setup ## Look for mistakes and unformatted code
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: setup ## Check the types, strictly
	$(PY) -m mypy

imports: setup ## Check that imports go one way
	$(VENV)/bin/lint-imports --no-cache

test: setup ## Run the tests: unit, property and whole-flow tests with real processes
	$(PY) -m pytest --ignore tests/integration

test-integration: setup ## Run the slow tests: lanes and clusters, a real Kafka
	$(PY) -m pytest tests/integration

check: lint types imports test ## What CI runs

crash-test: setup ## Kill it under load, break what it depends on, and compare with the oracle: make crash-test [SHORT=1] [LONG=1] [SEED=7]
	$(PY) -m tests.crash $(if $(SHORT),--short) $(if $(LONG),--long) $(if $(SEED),--seed $(SEED))

bench: setup ## Measure rates, delays and costs on a real Kafka and Redis, results checked: make bench [SHORT=1]
	$(PY) -m tests.bench $(if $(SHORT),--short)

bench-inside: setup ## Compare the delay from a poll to its flags with the plain loop's, in one process; fail where it is too long
	$(PY) -m tests.bench.inside

train: setup ## Train a model on simulated sessions and make it the current one
	$(PY) -m model.train

evaluate: setup ## Measure the current model on worlds it has never seen; writes MODEL_CARD.md
	$(PY) -m model.evaluate --card

run: setup ## See it work: make run [SECONDS=20] [RATE=50] [SEED=7]
	@exec $(PY) -m dataflows.demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RATE),--rate $(RATE)) \
		$(if $(SEED),--seed $(SEED))

topics: setup ## Create the topics that are missing at KAFKA_BOOTSTRAP_SERVERS
	$(PY) -m infra.topics

diagram: setup ## Print the flow as the engine sees it
	$(PY) -m bytewax.visualize dataflows.fraud -o mermaid

clean: ## Remove what was made here: the environment, models, runs
	rm -rf $(VENV) model/artifacts var .mypy_cache .ruff_cache .pytest_cache .hypothesis
