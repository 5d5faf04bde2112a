# The doors of the project. Each makes the environment if need be.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench docs report neutrality projects test-floor

demo: .venv/ready
	$(BIN)/python examples/digits_red_dot.py

# One thread a process: two processes of two threads each would wait for each other. Three processes for
# two cores: a quarter of the time is spent waiting for servers and for processes that tests start. Files in their
# order: those with few long tests would else come last.
test: check
	OMP_NUM_THREADS=1 PYTEST_XDIST_AUTO_NUM_WORKERS=$$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )) \
		$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The callback in projects of fourteen libraries, which it installs into a place of their own.
projects: .venv-projects/ready
	.venv-projects/bin/python tests/projects/table.py
	OMP_NUM_THREADS=1 .venv-projects/bin/python -m pytest tests/projects tests/unit/probes tests/lightning/test_files_of_libraries.py

# The tests on the oldest versions that are promised, against the built wheel; give PYTHON=python3.10.
test-floor: .venv-floor/ready
	OMP_NUM_THREADS=1 .venv-floor/bin/pytest -n auto --dist loadfile tests

neutrality: .venv/ready
	$(BIN)/python tests/neutrality.py
	$(BIN)/python tests/neutrality.py --drawn 40

bench: .venv/ready
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/channels.py
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/training_overhead.py
	$(BIN)/python benchmarks/ranks.py
	$(BIN)/python benchmarks/watching.py
	$(BIN)/python benchmarks/imports.py
	$(BIN)/python benchmarks/isolation.py
	$(BIN)/python benchmarks/correction.py

# Strict: a broken link or reference fails. The pages are site/index.html and on.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# RUN=folder of a run, or of its logs
report: .venv/ready
	$(BIN)/vlmxai report $(RUN)

.venv-projects/ready: pyproject.toml
	$(PYTHON) -m venv .venv-projects
	.venv-projects/bin/python -m pip install --quiet --editable '.[projects]'
	touch $@

.venv-floor/ready: pyproject.toml tests/floor.txt
	$(PYTHON) -m venv .venv-floor
	.venv-floor/bin/python -m pip install --quiet build
	rm -rf .venv-floor/dist
	.venv-floor/bin/python -m build --quiet --wheel --outdir .venv-floor/dist .
	.venv-floor/bin/python -m pip install --quiet --constraint tests/floor.txt \
		"$$(ls .venv-floor/dist/*.whl)[dev]"
	touch $@

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
