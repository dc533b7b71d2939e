# make demo | make test | make test-browser | make check | make setup
#
# Each target installs what it needs into .venv first, once, at the versions of constraints.txt.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first Python of at least 3.11 that can make a virtual environment.
FIND_PYTHON = for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && exit; done; \
	echo "pops needs Python 3.11 or newer, with venv: none was found; set PYTHON=/path/to/python" >&2; exit 1

.PHONY: setup demo test test-browser check format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { python=$$($(FIND_PYTHON)) && $$python -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/pops demo

test: setup
	$(BIN)/python -m pytest

# The studio's page, in the Chromium of this machine.
test-browser: setup
	$(BIN)/python -m pytest -m browser

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
