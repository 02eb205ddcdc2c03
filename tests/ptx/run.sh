#!/usr/bin/env bash
# The compiled kernels on an interpreter of their PTX: no GPU. See README.md here.
#
#   run.sh          hand-made kernels, small cases by several seeds, the block tests (some minutes)
#   run.sh quick    hand-made kernels, small cases once
#
#   BUILD=build/cuda                   the folder of the CUDA build, as .ci/run has it
#   ANYDRAFT_CUDA_ARCHITECTURES=90     90-virtual: PTX alone, compiles in half the time
#   JOBS=2
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build/cuda}
options=(-DANYDRAFT_CUDA=ON -DANYDRAFT_CUDA_ARCHITECTURES="${ANYDRAFT_CUDA_ARCHITECTURES:-90}"
  -DANYDRAFT_PTX_TESTS=ON -DANYDRAFT_ASSERTS=OFF)
targets=(ptx_machine_test ptx_small_cases)
if [ "${1:-}" != quick ]; then
  tests/cpp/fetch_googletest.sh build/googletest
  options+=(-DANYDRAFT_TESTS=ON -DANYDRAFT_GTEST_ROOT="$PWD/build/googletest")
  targets+=(ptx_block_tests)
fi
cmake -S . -B "$build" -G Ninja "${options[@]}"
cmake --build "$build" --target "${targets[@]}" -j"${JOBS:-2}"
"$build/ptx_machine_test"
"$build/ptx_small_cases"
[ "${1:-}" = quick ] && exit
for seed in 1 2 3; do
  PTX_SEED=$seed "$build/ptx_small_cases"
done
PTX_PROCESSORS=4 PTX_SEED=4 "$build/ptx_small_cases" # few multiprocessors: no clusters for laws
"$build/ptx_block_tests"
PTX_SEED=5 "$build/ptx_block_tests"
