# The index of every check. `make` alone prints it.
#
#   make demo              transpile the style-transfer net and serve its page on loopback
#   make demo HEADLESS=1   the same in headless Chromium: screenshot, error against onnxruntime
#   make examples          every example into one gallery: webdnn serve build/examples
#   make test              units, operators and small nets, in every browser engine found
#   make test-models       the trained networks (minutes)
#   make test-bounds       units and operators with the lowest versions of what WebDNN needs
#   make test-conformance  ONNX's own backend tests as given, on both targets (half an hour)
#   make models            fetch those networks first (about 4 GB with what exports two of them)
#   make fuzz              5,000 damaged files of all formats (a quarter of an hour)
#   make lint              ruff
#   make types             mypy --strict, tsc --checkJs
#   make runner            runner/dist, after a change to runner/src
#   make kernels           whether any kernel changed (tools/kernel_diff.py)
#   make bench             side-by-side timings against the peers, into build/bench.html and .json
#                          (an hour; ARGS=--quick: three networks in minutes)
#   make bench-page        build/bench: a page that races them in any browser, phones included
#   make wheel             dist/webdnn-*.whl, with the runner inside
#   make npm               dist/webdnn-*.tgz, the runner alone
#   make clean             everything the targets above wrote here
#
# Needs Python 3.11+ with venv; Node with npm for `test` and `types`. Browsers come
# from Debian packages when this machine allows it (tools/browsers.sh).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := build/lowest
ARGS ?=
# Tests run in so many processes; each may start a browser and hold a network.
JOBS ?= 2
SPREAD := --numprocesses $(JOBS) --dist worksteal
PYTEST := $(BIN)/pytest $(SPREAD)

.PHONY: help demo examples test test-models test-conformance models fuzz lint types runner kernels bench bench-page wheel npm \
  clean env browsers

help:
	@sed -n '/^#   make/s/^#   //p' Makefile

env: $(VENV)/.ready

$(VENV)/.demo: pyproject.toml tools/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "WebDNN needs Python 3.11 or newer; $$($(PYTHON) --version) found." \
	       "Name another with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing WebDNN into $(VENV) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint tools/constraints.txt --editable '.[demo]'
	@touch $@

# Chainer's setup script imports pkg_resources, which setuptools 80 no longer has.
$(VENV)/.ready: $(VENV)/.demo
	@echo "Installing the frameworks that tests and examples compare with (2 GB, minutes) ..."
	$(BIN)/pip install --quiet --constraint tools/constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet 'setuptools<80' wheel
	$(BIN)/pip install --quiet --constraint tools/constraints.txt --no-build-isolation chainer==7.8.1
	@touch $@

runner/node_modules/.ready: runner/package.json runner/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed to check the runner's types" \
	  "(Debian: apt-get install npm)." >&2; exit 1; }
	cd runner && npm ci --no-audit --no-fund
	@touch $@

browsers:
	@tools/browsers.sh

demo: $(VENV)/.demo
ifdef HEADLESS
	@tools/browsers.sh chromium
endif
	$(BIN)/python -m examples.onnx.build $(if $(PORT),--port $(PORT)) $(if $(HEADLESS),--headless)

examples: env browsers
	$(BIN)/python -m examples.gallery $(ARGS)

test: env browsers runner/node_modules/.ready
	cd runner && node --test test/
	$(PYTEST) -m "not models" $(ARGS)

test-models: env browsers
	$(PYTEST) -m models $(ARGS)

test-conformance: env browsers
	$(BIN)/python -m tests.conformance $(ARGS)

$(LOWEST)/.ready: pyproject.toml tools/constraints-lowest.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --constraint tools/constraints-lowest.txt --editable . \
	  hypothesis onnxruntime pillow pytest pytest-xdist
	@touch $@

# Without what the lowest onnx, as the oracle of some, computes wrongly or does not know.
test-bounds: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest $(SPREAD) \
	  tests/test_golden.py tests/test_cli.py tests/test_descriptor.py tests/test_image.py \
	  tests/test_frontend_onnx.py tests/test_wasm_templates.py tests/test_cases.py::test_import \
	  -k 'not (batch_first or lstm_half or dft_real_again or cumprod or bits_as or is_plain or attributes_on or backend_tests)'

models: env
	$(BIN)/python -m tests.models fetch

fuzz: env
	$(BIN)/python -m tests.fuzz_files --count 5000 $(ARGS)

lint: env
	$(BIN)/ruff check .

runner: runner/node_modules/.ready
	cd runner && npm run build

types: env runner/node_modules/.ready
	$(BIN)/mypy
	cd runner && npx --no-install tsc --project . && npx --no-install tsc --project ../tools/tsconfig.pages.json

kernels: env
	$(BIN)/python -m tools.kernel_diff check

bench: env
	@tools/browsers.sh chromium
	$(BIN)/python -m bench --json build/bench.json --html build/bench.html $(ARGS)

bench-page: env
	$(BIN)/python -m bench.page build/bench $(ARGS)

wheel: $(VENV)/.demo
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

npm:
	@mkdir -p dist
	cd runner && npm pack --silent --pack-destination ../dist

clean:
	rm -rf $(VENV) build dist runner/node_modules
