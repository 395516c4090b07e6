# The commands of this project; `make` alone lists them. CI calls the same ones.
#
#   make test only="-k input"     some tests        make demo VENV=/tmp/venv      another environment
#   make dev PYTHON=python3.12    another Python

SHELL := /bin/sh
VENV ?= .venv
DEMO ?= build/demo
IPYKERNEL ?= 7.0.1
QUICK := tests/protocol tests/local tests/proxy $(wildcard tests/test_*.py)
WORKERS ?= 4
APART := alone or cluster or official
only ?=

# A Python that is new enough and can make an environment; a name may exist and still not start.
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14 python
PYTHON ?= $(shell for name in $(CANDIDATES); do \
	"$$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)

BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BROWSER := $(VENV)/.ready-browser
READY_HUB := $(VENV)/.ready-hub
# Kernels of before and after subshells, for panels beside a running cell; each in build/ alone.
OLD_KERNELS := 6.31.0 7.0.1
NOTEBOOK := notebooks/01-first-cell.ipynb
# The demo and the tests use the embedded manager, whatever this computer is set up for.
LOCAL := env -u BACKEND_ENDPOINT -u BACKEND_ENDPOINT_TYPE -u BACKEND_ACCESS_KEY \
	-u BACKEND_SECRET_KEY BACKENDAI_KERNEL_CONFIG="$(abspath $(DEMO))/no-profile"

.DEFAULT_GOAL := help
.PHONY: help dev check fix test pinned lowest base demo bench docs fidelity which-python clean soak faults fuzz hub browser pictures

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	| awk -F'|' '{printf "%-14s%s\n", $$1, $$2}'

which-python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed; say which: make PYTHON=..." >&2; exit 1; }
	@echo "$(PYTHON)"

# The kernelspecs are copied by the installation, so a change of one installs again.
$(READY): pyproject.toml $(wildcard kernelspecs/*/*)
	@$(MAKE) --no-print-directory which-python >/dev/null
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

dev: $(READY) ## an environment in .venv with everything that development needs

check: $(READY) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY) ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Several files of tests at once, since most tests wait; then those that must have the computer
# (or the cluster) for themselves. What fails beside others is tried once more without them: when it
# passes, the report says so, and it is a test to be mended.
test: $(READY) ## the tests; only="-k input" for some of them
ifeq ($(strip $(only)),)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not ($(APART) or browser)" || { \
		test $$? -eq 1 || exit 1; echo "== what failed beside others, alone"; \
		$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none \
			-m "not ($(APART) or browser)"; }
	$(BIN)/python -m pytest -m "($(APART)) and not browser" || { \
		test $$? -eq 1 || exit 1; echo "== once more, what failed"; \
		$(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none \
			-m "($(APART)) and not browser"; }
else
	$(BIN)/python -m pytest $(only)
endif

pinned: $(READY) ## the tests with sessions of old and new Pythons, which it makes first
	$(BIN)/python tests/pinned/make.py
	$(BIN)/python -m pytest tests/pinned $(only)

# What old versions warn of in themselves is no error here.
lowest: ## the quick tests with the lowest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory which-python >/dev/null
	"$(PYTHON)" -m venv --clear build/lowest
	build/lowest/bin/python tests/pinned/bounds.py > build/lowest/constraints.txt
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c build/lowest/constraints.txt -e '.[dev]'
	build/lowest/bin/python -m pytest -W default $(or $(only),$(QUICK))

base: ## the kernel's tests with another ipykernel under the kernel itself; IPYKERNEL=7.0.1
	@$(MAKE) --no-print-directory which-python >/dev/null
	"$(PYTHON)" -m venv --clear build/base
	build/base/bin/python -m pip install --quiet --disable-pip-version-check \
		"ipykernel==$(IPYKERNEL)" -e '.[dev]'
	build/base/bin/python -m pytest -W default $(or $(only),tests/proxy)

$(READY_BROWSER): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	for version in $(OLD_KERNELS); do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
			--target build/ipykernel-$$version ipykernel==$$version nest-asyncio || exit 1; done
	@touch $@

browser: $(READY_BROWSER) ## drive JupyterLab in Chromium, which must be installed
	$(LOCAL) $(BIN)/python -m pytest -m browser tests/browser $(only)

# JupyterHub's own proxy is a package of npm; it comes into the environment's folder.
$(READY_HUB): $(READY)
	@command -v npm >/dev/null || { echo "JupyterHub's proxy needs Node.js and npm, which are not installed." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[hub]'
	npm install --silent --no-fund --no-audit --prefix $(VENV)/hub 'configurable-http-proxy@>=4.6'
	@touch $@

hub: $(READY_HUB) ## the links of apps under a JupyterHub and a Jupyter server; needs npm
	PATH="$(abspath $(VENV))/hub/node_modules/.bin:$$PATH" $(BIN)/python -m pytest -q \
		tests/test_jupyterhub.py tests/test_jupyter_proxy.py $(only)

pictures: $(READY_BROWSER) ## draw the pictures in docs/images anew, in Chromium; only=panels for those
	$(LOCAL) $(BIN)/python -m tests.browser.pictures $(only)

demo: $(READY) ## run the first notebook in a session of the embedded manager
	@mkdir -p $(DEMO)
	@cp $(NOTEBOOK) $(DEMO)/
	$(LOCAL) $(BIN)/jupyter execute --inplace --kernel_name=backendai-python $(DEMO)/$(notdir $(NOTEBOOK))
	@$(BIN)/jupyter nbconvert --log-level=ERROR --to html $(DEMO)/$(notdir $(NOTEBOOK))
	@echo
	@echo "The executed notebook: $(abspath $(DEMO))/$(notdir $(NOTEBOOK))"
	@echo "The same as a page:    $(abspath $(DEMO))/$(notdir $(NOTEBOOK:.ipynb=.html))"

bench: $(READY) ## measure against a plain ipykernel, print the ratios
	$(LOCAL) $(BIN)/python benchmarks/run.py $(only)

soak: $(READY) ## half an hour of random cells, interrupts, restarts and faults; only="--minutes 5"
	$(LOCAL) $(BIN)/python -m tests.soak $(only)

faults: $(READY) ## every trouble in every request; the table goes into docs/reliability.md
	$(LOCAL) $(BIN)/python -m tests.faults.matrix docs/reliability.md

fuzz: $(READY) ## what no server should say, in thousands of ways; only="-k events" for some
	BACKENDAI_FUZZ=long $(BIN)/python -m pytest tests/fuzz --timeout 3600 $(only)

fidelity: $(READY) ## compare every output with a plain ipykernel's; only="errors pandas" for some
	$(LOCAL) $(BIN)/python benchmarks/fidelity/run.py $(only)

docs: $(READY) ## make the part of docs/magics.md that comes from the parsers
	$(BIN)/python -m backendai_magics.reference docs/magics.md

clean: ## remove what these commands made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
