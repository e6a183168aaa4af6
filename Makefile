# make run    a tour: index, search and measure the docstrings of Python's standard library
# make test   what CI runs: style, types, tests; a few minutes, install aside
# make soak   the long tests: hundreds of kills, every fault, a minute of readers and a writer
# make bench  measured side by side with named peers (minutes)

export PYTHONSAFEPATH = 1
PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/.installed

.PHONY: run test soak bench lint clean

run: $(INSTALLED)
	@$(BIN)/python -m cormorant tour

test: $(INSTALLED) lint
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not soak"

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

soak: $(INSTALLED)
	@$(BIN)/python -m pytest -q -s -m soak

bench: $(INSTALLED)
	@$(BIN)/python -m cormorant bench bm25
	@$(BIN)/python -m cormorant bench dense
	@$(BIN)/python -m cormorant bench serve
	@$(BIN)/python -m cormorant bench sparse
	@$(BIN)/python -m cormorant bench maxsim

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --upgrade -c constraints.txt pip setuptools
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,bench]'
	@touch $@

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
