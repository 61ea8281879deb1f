# Verbs: demo test test-edge test-all check bench docs. Each works on a fresh machine with Python >= 3.11 and its venv module.
PYTHON ?= python3
# An extra package index for torch, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu (200 MB instead of gigabytes).
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
EXTRA_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)
STAMP := $(VENV)/.installed
# The environment without PyTorch; made anew where what it holds may have changed
EDGE := build/edge-venv
EDGE_PIP := $(EDGE)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EDGE_CHECK := $(CURDIR)/$(EDGE)/bin/python -P $(CURDIR)/tests/edge/without_torch.py $(CURDIR)/build/edge

export OMP_NUM_THREADS ?= 2
# Threads that wait asleep: with another busy program on the machine, spinning ones slow training tenfold
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-edge test-all check bench docs clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(EXTRA_INDEX) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(EXTRA_INDEX) -e '.[train,video,search,index,hf,export,edge,registry,serve,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/omnifuse demo --out runs/demo

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell .

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

# The wheel alone, first with [edge] and then with [serve] added, checked away from the sources
test-edge: $(STAMP)
	rm -rf build/edge $(EDGE) build/lib build/bdist.*
	$(BIN)/python -m tests.edge.given build/edge
	$(PYTHON) -m venv $(EDGE)
	$(EDGE_PIP) '.[edge]'
	cd build/edge && OMP_NUM_THREADS=1 $(EDGE_CHECK)
	$(EDGE_PIP) '.[edge,serve]'
	cd build/edge && OMP_NUM_THREADS=1 $(EDGE_CHECK)

test-all: check test-edge
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt wandb
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

docs: $(STAMP)
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) build dist runs
