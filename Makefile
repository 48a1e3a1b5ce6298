# `make demo` and `make test` are all a newcomer needs; `make check` is all a contributor needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RTX := $(VENV)/.installed-rtx
DOCS := $(VENV)/.installed-docs
BENCH := $(VENV)/.installed-bench

# A worker per core, a thread per worker. The tests of a file stay together and share what they made (long ones first: see
# tests/conftest.py).
# A worker that dies ends the tests: a new one in its place may wait for ever for what the old one had left.
WORKERS ?= auto
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
SPREAD := --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

BOARD_PYTHONS := .venv-3.8 .venv-3.10

.PHONY: demo test test-slow test-long test-rtx test-ssh test-all check format docs bench bench-long golden clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

BUDGET ?= 10m

demo: $(STAMP)            ## search a small detector on generated images: ten minutes, on a CPU (a slow one: BUDGET=20m)
	$(BIN)/optimize --base r18 --target cpu --epochs auto --budget $(BUDGET) --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP)            ## the default tests, whole runs of slim networks among them
	$(PYTEST) $(SPREAD)

test-slow: $(STAMP)       ## what takes minutes: one training in several processes
	$(PYTEST) -m 'slow and not gpu and not tensorrt and not rtx and not ssh'

test-long: $(STAMP)       ## whole runs of every base: half an hour; no part of test-all
	$(PYTEST) -m long tests/smoke/test_every_base.py

test-ssh: $(STAMP)        ## boards behind a local sshd; skipped where there is none
	$(PYTEST) -m 'ssh and not slow' tests/deploy tests/smoke

$(RTX): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[rtx]'
	touch $@

test-rtx: $(RTX)          ## NVIDIA's own builder on every variant of the exports; no GPU needed (x86-64, 230 MB)
	$(PYTEST) -m 'rtx and not slow' tests/deploy/builders/test_rtx.py

test-all: $(RTX) $(DOCS)  ## all four at once: what this machine can run
	$(PYTEST) $(SPREAD) -m 'not long and not gpu and not tensorrt and not (slow and (ssh or rtx))'

$(BOARD_PYTHONS): .venv-%: ## the Pythons of JetPack 5 and 6, where they are installed: tests then run board-side code in them
	PYENV_VERSION=$* python$* -m venv $@
	$@/bin/python -m pip install --quiet numpy pillow onnxruntime tomli

check: $(STAMP)           ## what a pull request must pass: format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) $(SPREAD) --ignore tests/smoke

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

docs: $(DOCS)             ## the documentation as a site, in build/docs; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/docs/index.html; with search: $(BIN)/python -m http.server --directory build/docs"

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

bench: $(BENCH)           ## what others' tools do beside this one: under 20 minutes on two idle cores, tables and JSON in runs/
	$(BIN)/python benchmarks/bench.py short

bench-long: $(BENCH)      ## the same at full size: hours
	$(BIN)/python benchmarks/bench.py long

golden: $(STAMP)          ## accept the present values of tests/golden; look at the diff before committing
	DETOPT_UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/golden

clean:
	rm -rf $(VENV) build dist *.egg-info
