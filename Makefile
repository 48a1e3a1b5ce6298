# `make demo` and `make test` are all a newcomer needs; `make check` is all a contributor needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

BOARD_PYTHONS := .venv-3.8 .venv-3.10

.PHONY: demo test test-slow test-rtx test-ssh test-all check format golden clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(STAMP)            ## search a small detector on generated images (at most 10 minutes on 2 cores)
	$(BIN)/optimize --base r18 --target cpu --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP)            ## the default tests (about 20 minutes on 2 cores)
	$(BIN)/python -m pytest

test-slow: $(STAMP)       ## what takes minutes: one training in several processes, whole runs of every base
	$(BIN)/python -m pytest -m 'slow and not gpu and not tensorrt and not rtx and not ssh'

test-all: test test-slow test-rtx test-ssh   ## all that this machine can run

test-ssh: $(STAMP)        ## boards behind a local sshd; skipped where there is none
	$(BIN)/python -m pytest -m 'ssh and not slow' tests/deploy tests/smoke

test-rtx: $(STAMP)        ## NVIDIA's own builder on every variant of the exports; no GPU needed (x86-64, 230 MB)
	$(BIN)/python -m pip install --quiet --editable '.[rtx]'
	$(BIN)/python -m pytest -m 'rtx and not slow' tests/deploy/builders/test_rtx.py

$(BOARD_PYTHONS): .venv-%: ## the Pythons of JetPack 5 and 6, where they are installed: tests then run board-side code in them
	PYENV_VERSION=$* python$* -m venv $@
	$@/bin/python -m pip install --quiet numpy pillow onnxruntime tomli

check: $(STAMP)           ## what a pull request must pass: format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --ignore tests/smoke

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(STAMP)          ## accept the present values of tests/golden; look at the diff before committing
	DETOPT_UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/golden

clean:
	rm -rf $(VENV) build dist *.egg-info
