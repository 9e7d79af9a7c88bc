# `make help` lists the commands. Each of them makes the virtual environment .venv first if it has to.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test drills lint bench proto browser clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start imcloud and everything that it needs; Ctrl-C ends it; GATEWAYS=3: that many gateways; SITES=2: two sites
	@$(if $(GATEWAYS),IMCLOUD_GATEWAYS=$(GATEWAYS)) $(if $(SITES),IMCLOUD_SITES=$(SITES)) exec $(BIN)/python manage.py run

test: $(VENV)/.dev browser lint ## every check and every test
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

drills: $(VENV)/.dev ## only the tests in which databases die under users who chat (4 minutes)
	@$(BIN)/python -m pytest -m drills $(ARGS)

# mypy's Django plugin imports the settings; the key keeps them from making one in the data folder.
lint: $(VENV)/.dev ## ruff, mypy, import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@IMCLOUD_SECRET_KEY=unused $(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.dev ## the benchmarks: one JSON line each; PEERS=1: beside other servers
	@exec $(BIN)/python -m bench$(if $(PEERS),.peers) $(ARGS)

proto: $(VENV)/.dev ## generate the protobuf module again
	@$(BIN)/python -m grpc_tools.protoc -I apps/routing/protocol --python_out=apps/routing/protocol \
		--pyi_out=apps/routing/protocol im.proto

browser:
	@sh tests/browser/install.sh || test "$${CI:-}" != true  # elsewhere the tests say that they were skipped

clean: ## remove the virtual environment and the caches; the data in var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis tests/browser/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@python=; for candidate in $(PYTHON) python3.12 python3.11 python3 python3.13; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'imcloud needs Python 3.11 or newer; install python3.12 or say where it is: make PYTHON=/path/to/python3.12' >&2; \
		exit 1; \
	fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: requirements.txt $(VENV)/.made
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.txt
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@
