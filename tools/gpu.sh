#!/usr/bin/env bash
# A machine with a GPU and no network: build, tests, sanitizers, kernel bench. `make gpu`, or this
# file where there is no make. The system's Python has torch, pytest and the build tools.
#
# Each step has a limit in seconds, under 9 minutes in all; one that fails or is left out does not
# stop the others, and results of a run that is cut off are there: gpu-summary.txt, gpu.log,
# kernels-cuda.json and .md in $OUT (default bench/results). Exit 1 where a step failed, 3 where one
# was left out.
#
#   PYTHON=python3                     with torch
#   ANYDRAFT_PEERS=.peers              peers of the bench (bench/carry_peers.py)
#   build/gpu-site                     a build of these very sources, where there is one (it may be
#                                      carried from another machine) is used; else made here
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
export PYTHONUNBUFFERED=1 PATH="$PATH:/usr/local/cuda/bin"
python=${PYTHON:-python3}
out=${OUT:-bench/results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
site=$PWD/build/gpu-site
export ANYDRAFT_PEERS=${ANYDRAFT_PEERS:-$PWD/.peers}
export PYTHONPATH=$site:$PWD:$ANYDRAFT_PEERS${PYTHONPATH:+:$PYTHONPATH}
summary=$out/gpu-summary.txt log=$out/gpu.log
: >"$summary"
: >"$log"
failed=0 skipped=0

say() { printf '%s\n' "$*" | tee -a "$summary"; }

# step NAME SECONDS COMMAND...: the command's output goes to the log and the terminal.
step() {
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  printf '\n######## %s, at most %s s: %s\n' "$name" "$limit" "$*" | tee -a "$log"
  timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$log"
  code=${PIPESTATUS[0]}
  case $code in
    0) say "$name: ok, $((SECONDS - start)) s" ;;
    124 | 137) say "$name: CUT OFF after $limit s" && failed=1 ;;
    *) say "$name: FAILED (exit $code), $((SECONDS - start)) s" && failed=1 ;;
  esac
  return "$code"
}
skip() { say "$1: SKIPPED, $2" && skipped=1; }

sources() { # one number for all that is compiled and for the Python files
  find CMakeLists.txt pyproject.toml cpp cuda python -type f \
    \( -name '*.h' -o -name '*.cpp' -o -name '*.inc' -o -name '*.def' -o -name '*.cu' -o -name '*.cuh' \
    -o -name '*.py' -o -name '*.pyi' -o -name '*.txt' -o -name '*.toml' \) -print0 |
    LC_ALL=C sort -z | xargs -0 cat | cksum
}
usable() {
  [ "$(cat "$site/SOURCES" 2>/dev/null)" = "$(sources)" ] &&
    "$python" -c 'import sys; from anydraft import _core; sys.exit(not _core.cuda_built())' 2>/dev/null
}
build() {
  ANYDRAFT_CUDA=ON ANYDRAFT_CUDA_ARCHITECTURES="${ANYDRAFT_CUDA_ARCHITECTURES:-90}" \
    CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$python" -m pip --disable-pip-version-check -q install \
    --no-build-isolation --no-deps --upgrade --target "$site" \
    --config-settings=build-dir=build/gpu . && sources >"$site/SOURCES"
}
compile_small_cases() {
  [ -e build/gpu/small_cases ] && [ build/gpu/small_cases -nt build/gpu/libanydraft.a ] && return
  nvcc -std=c++17 -O1 -Icpp/include -I. -Icuda -Xcompiler=-ffp-contract=off \
    tests/cuda/small_cases.cpp build/gpu/libanydraft.a -lpthread -o build/gpu/small_cases
}
export -f build sources compile_small_cases
export python site

say "$(date -u +%F) $(uname -m), $("$python" --version 2>&1), $(nproc) cores"
if gpus=$(timeout 20 nvidia-smi -L 2>&1); then no_gpu=; else no_gpu='no GPU (nvidia-smi does not list one)'; fi
say "${no_gpu:-$gpus}"

no_build=
if usable; then
  say 'build: the one in build/gpu-site is of these sources'
elif ! command -v nvcc >/dev/null; then
  no_build='no build: nvcc is not here, and build/gpu-site has none of these sources that Python loads'
  skip build "$no_build"
elif ! step build "${BUILD_S:-170}" bash -c build; then
  no_build='no build'
fi
no_torch=
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
  no_torch='Python has no torch that sees the GPU'

cases=$no_gpu
if [ -z "$cases" ] && [ ! -e build/gpu/libanydraft.a ] && [ ! -x build/gpu/small_cases ]; then
  cases='no build/gpu/libanydraft.a'
fi
if [ -n "$cases" ]; then
  skip small-cases "$cases"
else
  step small-cases 45 bash -c 'compile_small_cases && build/gpu/small_cases'
fi

why=${no_gpu:-${no_build:-$no_torch}}
if [ -n "$why" ]; then
  skip tests "$why"
  skip bench "$why"
else
  workers=
  "$python" -c 'import xdist' 2>/dev/null && workers='-n 4'
  # shellcheck disable=SC2086
  step tests 110 "$python" -m pytest -v --tb=short --durations=5 -p no:cacheprovider $workers \
    -m cuda tests/python/test_cuda*.py ${PYTEST_ARGS:-}
  step bench 140 "$python" -m anydraft bench kernels --device cuda --seconds "${BENCH_S:-110}" \
    --out "$out/kernels-cuda"
fi

if [ -n "$cases" ]; then
  skip sanitizers "$cases"
elif [ ! -x build/gpu/small_cases ]; then
  skip sanitizers 'build/gpu/small_cases was not made'
elif ! command -v compute-sanitizer >/dev/null; then
  skip sanitizers 'compute-sanitizer is not here'
else
  step memcheck 35 compute-sanitizer --tool memcheck --error-exitcode 9 build/gpu/small_cases
  step racecheck 30 compute-sanitizer --tool racecheck --error-exitcode 9 \
    build/gpu/small_cases one_block
fi

printf '\n######## summary (%s s in all)\n' "$SECONDS"
cat "$summary"
[ "$failed" = 0 ] || exit 1
[ "$skipped" = 0 ] || exit 3
