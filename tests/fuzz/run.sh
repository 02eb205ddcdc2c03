#!/usr/bin/env bash
# Fuzzes the table reader and the encoders under ASan and UBSan for SECONDS each:
#   tests/fuzz/run.sh SECONDS [PYTHON]
# With libFuzzer where there is a clang that has it (Debian: clang-14 libclang-rt-14-dev), else with
# plain random changes under g++. Inputs that fail are left in build/fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1 python=${2:-python3} out=build/fuzz
mkdir -p $out
"$python" tests/fuzz/seeds.py $out

flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -Icpp/include -Icpp/src -ffp-contract=off"
flags="$flags -fno-sanitize-recover=all"
compiler="" main=""
for candidate in ${CLANGXX:-} clang++ clang++-19 clang++-16 clang++-14; do
  echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
    $candidate -fsanitize=fuzzer,address -x c++ - -o $out/probe 2>/dev/null || continue
  compiler=$candidate flags="$flags -fsanitize=fuzzer,address,undefined"
  break
done
if [ -z "$compiler" ]; then
  echo "no clang with libFuzzer: plain random changes"
  compiler=g++ main=tests/fuzz/plain_main.cpp flags="$flags -fsanitize=address,undefined"
fi

echo "== $compiler"
# libFuzzer's main goes into the link alone.
compile() {
  $1 ${2/-fsanitize=fuzzer,/-fsanitize=fuzzer-no-link,} -c "$4" -o "$3/$(basename "$4" .cpp).o"
}
export -f compile
sources="cpp/src/base/mapped_file.cpp $(echo cpp/src/vocab/*.cpp) $main"
printf '%s\n' $sources tests/fuzz/fuzz_*.cpp |
  xargs -P "${JOBS:-2}" -I{} bash -c 'compile "$@"' - "$compiler" "$flags" $out {}
for target in table encode; do
  objects=$(for file in $sources fuzz_$target.cpp; do echo $out/$(basename "$file" .cpp).o; done)
  $compiler $flags $objects -o $out/fuzz_$target
done

export ANYDRAFT_FUZZ_TABLES=$PWD/$out/tables
cd $out
if [ -n "$main" ]; then
  ./fuzz_table "$seconds" tables
  ./fuzz_encode "$seconds" texts
else
  mkdir -p corpus_table corpus_encode
  ./fuzz_table -max_total_time="$seconds" -max_len=900000 -print_final_stats=1 corpus_table tables
  ./fuzz_encode -max_total_time="$seconds" -max_len=4000 -print_final_stats=1 corpus_encode texts
fi
