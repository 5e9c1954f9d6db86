# make demo   a whole CREAM experiment on this machine
# make test   lint, types, import contracts, all tests
#
# PYTHON=...        another interpreter (3.11 or newer)
# TORCH_INDEX=...   take torch from this index, e.g. PyTorch's CPU-only one (see README.md)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed
	@$(BIN)/cream-tui demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "cream-tui needs Python 3.11 or newer; none was found (name one with PYTHON=...)"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "cream-tui needs Python 3.11 or newer; $(PYTHON) is not"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) comes without venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing the pinned packages into $(VENV); torch is the large one. This takes a few minutes."
	@$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
