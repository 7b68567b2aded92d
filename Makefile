# tlkit: `make demo` trains a network, `make test` and `make test-slow` run the tests, `make test-cuda` those that need a GPU. They make .venv first and need only Python 3.11.4 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow test-cuda check format clean bench bench-track bench-peers bench-cuda bench-cifar soak fuzz mutants audit docs docs-api browser

demo: $(STAMP)
	$(BIN)/tlkit apply recipes/quickstart.toml

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --durations=15

# On a machine with an NVIDIA GPU, less than ten minutes; elsewhere every test is skipped and says why.
test-cuda: $(STAMP)
	$(BIN)/python -m pytest -m cuda --durations=15 tests $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Chromium, in which a test opens report.html; from Debian's packages, as root.
browser:
	command -v chromium || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; }

# The site of the documentation, in build/site.
docs: $(STAMP)
	$(BIN)/python -m docs.site

docs-api: $(STAMP)
	$(BIN)/python -m docs.generate

$(STAMP): pyproject.toml constraints.txt plugins/tlkit-dlib-face/pyproject.toml plugins/tlkit-efficientnet-lite/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("tlkit needs Python 3.11.4 or newer; make PYTHON=python3.12" if sys.version_info < (3, 11, 4) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]' -e plugins/tlkit-dlib-face -e plugins/tlkit-efficientnet-lite
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
	touch $(STAMP)

# What they measure and their options, given as ARGS="...": benchmarks/README.md. Nothing else should run meanwhile.
bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks/test_recipes.py --benchmark-enable --benchmark-only $(ARGS)

bench-track: $(STAMP)
	$(BIN)/python -m benchmarks.track $(ARGS)

bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.peers.run $(ARGS)

bench-cuda: $(STAMP)
	$(BIN)/python -m benchmarks.cuda $(ARGS)

bench-cifar: $(STAMP)
	$(BIN)/python -m benchmarks.cifar $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(ARGS)
	$(BIN)/python -m benchmarks.faults

# Wrong inputs by the million, hours; goes on where it was stopped. ARGS="--minutes 5" tries each kind for its share of five minutes.
fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

# Mutation testing of a module by its own tests, a second or a few for each mutant; goes on where it was stopped. ARGS="plans/schedule tests/plans/test_schedule.py"
mutants: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants $(ARGS)

# Known vulnerabilities of what is installed here, from pypi.org, and the bill of materials, in build/sbom.json (CycloneDX).
audit: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.7'
	mkdir -p build
	$(BIN)/pip-audit --format cyclonedx-json --output build/sbom.json --skip-editable; $(BIN)/pip-audit --skip-editable

clean:
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
