#!/usr/bin/env bash
# Fuzzes the readers of GGUF and safetensors under ASan and UBSan for SECONDS each, with plain random
# changes:  tests/fuzz/run_models.sh SECONDS [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1 python=${2:-python3} out=build/fuzz_models
mkdir -p $out
"$python" tests/fuzz/seeds_models.py $out
flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -Icpp/include -Icpp/src -ffp-contract=off"
flags="$flags -fno-sanitize-recover=all -fsanitize=address,undefined"
readers="json matrix_ggml model_file gguf safetensors config config_json config_gguf"
readers="$readers ../base/mapped_file ../vocab/unicode"
for target in gguf safetensors; do
  g++ $flags $(printf 'cpp/src/decoder/%s.cpp ' $readers) tests/fuzz/fuzz_$target.cpp \
    tests/fuzz/plain_main.cpp -o $out/fuzz_$target
done
cd $out
# No allocation by what a header claims: 64 MB are plenty for these files.
export ASAN_OPTIONS=max_allocation_size_mb=64
./fuzz_gguf "$seconds" gguf
./fuzz_safetensors "$seconds" safetensors
