# Each target sets up its own .venv from nothing; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
FUZZ_SECONDS ?= 60
SMALL := jobs/specs/experiments/digits
RESULTS := bench/results/experiments

.PHONY: demo test test-slow lint dist format fuzz faults long-run experiments bench

demo: $(READY)  ## one spec to a report, on two cores: runs/demo/report.html
	$(BIN)/python -m jobs generate jobs/specs/digits.yaml --out runs/demo
	$(BIN)/python -m jobs sweep jobs/specs/digits.yaml --out runs/demo

test: $(READY)  ## all tests but the slow ones, in two processes; the files that take longest come first
	$(PYTEST)

test-slow: $(READY)  ## repetitions of tests with more sizes, seeds and faults, half an hour
	$(PYTEST) -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

dist: $(READY)  ## a wheel and an sdist: dist/
	rm -rf dist
	$(BIN)/python -m build

fuzz: $(READY)  ## minutes of coverage-guided fuzzing: nothing but a named error may come out
	$(BIN)/pip install --quiet atheris==3.0.0
	for target in scan stream index spec; do $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) || exit 1; done

faults: $(READY)  ## the whole fault matrix, an hour and a half on two cores: bench/results/faults.md
	$(BIN)/python -m bench faults

long-run: $(READY)  ## 90,000 images to an object store while actors and drivers are killed: bench/results/long_run.md
	$(BIN)/python -m bench long-run

bench: $(READY)  ## images per second beside other tools: bench/README.md
	$(BIN)/python -m bench cpu --out bench/results

experiments: $(READY)  ## the experiments on the embedded data: bench/results/experiments/
	$(BIN)/python -m bench rebalance --spec $(SMALL)-rebalance.yaml --out $(RESULTS) --work runs/experiments
	$(BIN)/python -m bench shortage --spec $(SMALL)-shortage.yaml --out $(RESULTS) --work runs/experiments
	$(BIN)/python -m bench ratio --spec $(SMALL)-ratio.yaml --out $(RESULTS) --work runs/experiments
	$(BIN)/python -m bench dense --out $(RESULTS) --work runs/experiments
	$(BIN)/python -m bench collapse --out $(RESULTS)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch and torchvision come together from the registry: a torchvision wheel fails at import beside another torch build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[generate,train,dev]'
	touch $(READY)
