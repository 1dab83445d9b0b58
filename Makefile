# Every target makes its own environment on a fresh machine. PYTHON=python3.12 make test chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lowest lint docs bench gpu fuzz clean

# The stamp is older than pyproject.toml whenever the dependencies may have changed.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --retries 10 --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/neurodec demo --out demo

# Two processes of one thread each: threads of both would wait for each other.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not quality"

# Calibration on null data, what trained networks reach, kills at every write, and the notebooks.
test-slow: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m quality

# A quick part of the tests with the lowest versions that pyproject.toml promises, in an environment of its own.
LOWEST := tests/encoders tests/linear tests/training tests/systems tests/evaluation tests/features tests/report tests/run/test_systems.py

.lowest/installed: pyproject.toml
	$(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet uv
	.lowest/bin/uv pip compile --quiet --resolution lowest-direct pyproject.toml --output-file .lowest/lowest.txt
	.lowest/bin/uv pip install --quiet --python .lowest/bin/python --requirement .lowest/lowest.txt pytest pytest-timeout pytest-xdist scikit-image
	.lowest/bin/uv pip install --quiet --python .lowest/bin/python --no-deps --editable .
	touch $@

lowest: .lowest/installed
	OMP_NUM_THREADS=1 .lowest/bin/python -m pytest -n 2 --dist loadfile -m "not quality" $(LOWEST)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python docs/check_docstrings.py

# The site, in docs/_build/html; a warning is an error.
docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: .venv/installed
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# What only a GPU shows; says so where there is none.
gpu: .venv/installed
	$(BIN)/python tests/gpu/run_gpu.py

# Damaged inputs, N of them; each failure names the target and seed that replay it.
N ?= 10000
fuzz: .venv/installed
	$(BIN)/python tests/fuzz/run_fuzz.py $(N)

clean:
	rm -rf .venv .lowest
