#!/usr/bin/env bash
# The compiled kernels on an interpreter of their PTX: no GPU. See README.md here.
#
#   run.sh          hand-made kernels, small cases by several seeds, sessions, the block tests, and where
#                   Python has torch and pytest, the tests of anydraft.cuda and of sessions (a quarter of
#                   an hour)
#   run.sh quick    hand-made kernels, small cases once, every ninth session
#
#   BUILD=build/ptx                    its build folder, as .ci/run has it
#   ANYDRAFT_CUDA_ARCHITECTURES=90     90-virtual: PTX alone, compiles in half the time
#   JOBS=2 PYTHON=python3
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build/ptx}
python=${PYTHON:-python3}
options=(-DANYDRAFT_CUDA_ARCHITECTURES="${ANYDRAFT_CUDA_ARCHITECTURES:-90}")
targets=(ptx_machine_test ptx_small_cases ptx_sessions)
with_python=
if [ "${1:-}" != quick ]; then
  third_party/fetch_googletest.sh build/googletest
  options+=(-DPTX_BLOCK_TESTS=ON -DANYDRAFT_GTEST_ROOT="$PWD/build/googletest")
  targets+=(ptx_block_tests)
  if "$python" -c 'import torch, pytest, pybind11' 2>/dev/null; then
    with_python=yes
    options+=(-DPTX_PYTHON=ON -DPython_EXECUTABLE="$(command -v "$python")"
      -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)")
    targets+=(ptx_core)
  fi
fi
cmake -S tests/ptx -B "$build" -G Ninja "${options[@]}"
cmake --build "$build" --target "${targets[@]}" -j"${JOBS:-2}"
"$build/ptx_machine_test"
"$build/ptx_small_cases"
"$build/ptx_sessions" ${1:-}
[ "${1:-}" = quick ] && exit
PTX_SEED=1 PTX_PROCESSORS=8 "$build/ptx_sessions" quick
for seed in 1 2 3; do
  PTX_SEED=$seed "$build/ptx_small_cases"
done
PTX_PROCESSORS=4 PTX_SEED=4 "$build/ptx_small_cases" # few multiprocessors: no clusters for distributions
"$build/ptx_block_tests"
PTX_SEED=5 "$build/ptx_block_tests" --gtest_filter=-Large*
if [ -z "$with_python" ]; then
  echo '!!!! tests of anydraft.cuda SKIPPED: no torch, pytest or pybind11 in Python'
  exit
fi
tar -C python --exclude='*.so' --exclude=__pycache__ -c anydraft | tar -x -C "$build/ptx_site"
# No graphs there, and large vocabularies and lattices take long.
PYTHONPATH=$build/ptx_site:tests/ptx:. "$python" -m pytest -q -p fake_cuda -p no:cacheprovider \
  -m cuda tests/python/test_cuda.py tests/python/test_cuda_projection.py \
  tests/python/test_cuda_session.py \
  -k 'not graph and not 128256 and not 151936 and not 262144 and not 40000'
