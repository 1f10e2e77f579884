# Every target first installs what is missing; `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv/bin
PYTHON := $(VENV)/python
MEMBERS := browserfleet browserfleet-artifact-store browserfleet-browser-node browserfleet-kit browserfleet-local \
	browserfleet-protos browserfleet-reaper browserfleet-session-api
# Python without the ending.
SCRIPTS := deploy/tls/dev-certificates
# Options of the command that a target runs: make up ARGS="--http-port 8080"
ARGS ?=

export PATH := $(CURDIR)/$(VENV):$(PATH)
export BUF_CACHE_DIR := $(CURDIR)/.venv/.buf

.PHONY: help install demo up test test-unit simulate bench bench-node bench-leaks bench-control check check-lint check-types check-layers \
	check-protos check-deploy protos format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## install what is missing: the Python packages, and a browser where that is allowed
	@./deploy/local/install

demo: install ## the whole thing once on real input, with a table of what passed
	@$(PYTHON) -m local_stack.demo $(ARGS)

up: install ## start the stack and stay until Ctrl-C
	@exec $(PYTHON) -m local_stack up $(ARGS)

test: install ## all tests, unit to end-to-end
	$(PYTHON) -m pytest tests/unit tests/conformance tests/integration tests/simulation tests/e2e $(ARGS)

test-unit: install ## the fast tests
	$(PYTHON) -m pytest tests/unit $(ARGS)

simulate: install ## a million simulated schedules of the control plane; ARGS="--seed N --trace" replays one
	@$(PYTHON) -m tests.simulation --schedules 1000000 --jobs 2 $(ARGS)

bench: install ## a small fleet beside raw Chrome: start, memory, CDP; into bench-output/
	@$(PYTHON) -m tests.benchmarks $(ARGS)

bench-node: install ## a node beside raw Chrome: creates, CDP, egress, live view, confinement, leaks; into bench-output/
	@for part in create cdp egress live confinement leaks; do \
		echo "== $$part"; $(PYTHON) -m tests.benchmarks.node.$$part; done

bench-leaks: install ## 60 sessions on one node, half of them ended hard, and what is left; into bench-output/
	@$(PYTHON) -m tests.benchmarks.node.leaks $(ARGS)

bench-control: install ## the control plane at 1,000 nodes and 10,000 sessions, into bench-output/
	@$(PYTHON) -m tests.benchmarks.control $(ARGS)

check: check-lint check-types check-layers check-protos check-deploy ## lint, types, layers, stub drift, contracts, deploy files

check-lint: install
	ruff check . $(SCRIPTS)
	ruff format --check . $(SCRIPTS)

check-types: install
	mypy protos/generate.py services clients deploy/local/src tests

check-layers: install
	lint-imports

check-protos: install
	$(PYTHON) protos/generate.py --check
	buf lint
	./protos/check-breaking

check-deploy: install
	hadolint --config deploy/docker/hadolint.yaml deploy/docker/*.Dockerfile
	NATS_TOKEN=x FLEET_S3_ACCESS_KEY=x FLEET_SECRETS_DIR=/x FLEET_EDGE_URL=http://x \
		docker-compose -f deploy/compose.yaml --profile '*' config --quiet

protos: install ## write the stubs under protos/gen anew
	$(PYTHON) protos/generate.py

format: install ## format, and mend what can be mended
	ruff check --fix-only .
	ruff format .

lock: install ## resolve the dependencies anew into requirements.lock
	.venv/.uv/bin/uv pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--group dev $(addprefix --no-emit-package ,$(MEMBERS)) --output-file requirements.lock pyproject.toml

clean: ## remove the stack's state, what the demo and the benchmarks wrote, and caches
	rm -rf .local-stack demo-output bench-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
