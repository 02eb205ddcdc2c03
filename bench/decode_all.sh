#!/bin/sh
# The decoder's figures of whole texts, into bench/results/decode-DATE-*.json; an idle machine.
#
#   bench/decode_all.sh [humaneval] [copying] [tasks] [sampled] [batch]      (default: all)
#
# On slow cores: humaneval, with the other libraries, 20 minutes; copying, batch: 2; tasks (T = 0,
# three turns) 20, sampled (T = 0.7, one turn) 7.
# PYTHON: one that has anydraft and transformers. PEERS: one with llama-cpp-python and openvino-genai.
# OPENVINO_DRAFTER: Qwen2.5-Coder-0.5B as a GGUF file of Q8_0, as OpenVINO reads no Q5_0.
# SPEC_BENCH: the file question.jsonl of Spec-Bench.
# Models: bench/models.py gguf smollm2-135m qwen2.5-coder-1.5b qwen2.5-coder-0.5b, and
# bench/models.py fetch qwen2.5-coder-0.5b.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=bench/results/decode-$(date -u +%F)
decode() {
  name=$1 && shift
  rm -f "$out-$name.json"
  "$python" -m anydraft bench decode --preset qwen-1.5b --json "$out-$name.json" "$@"
}
for part in ${*:-humaneval copying tasks sampled batch}; do
  case $part in
    humaneval)
      decode humaneval --range 23:43 --tune 0 ${PEERS:+--peer-python "$PEERS"} \
        ${OPENVINO_DRAFTER:+--openvino-drafter "$OPENVINO_DRAFTER"} \
        --method 'lookup auto' --method 'smollm2-135m auto' --method 'smollm2-135m slem 8, 0.4' \
        --method 'qwen2.5-coder-0.5b auto' --method 'qwen2.5-coder-0.5b-int4 auto' \
        --method 'qwen2.5-coder-0.5b-int4 same 5, 0.5' ;;
    copying)
      decode copying --prompts bench/prompts/copying.json --range 0:12 --tune 0 --tokens 96 \
        --no-peer --method 'lookup auto' --method 'lookup 8' --method 'smollm2-135m auto' ;;
    tasks | sampled)
      temperature=0 turns=3
      [ "$part" = tasks ] || { temperature=0.7 turns=1; }
      decode "$part" --prompts "${SPEC_BENCH:?the question.jsonl of Spec-Bench}" --each 10 --chat \
        --tune 0 --tokens 48 --turns "$turns" --no-peer --temperature "$temperature" \
        --method 'lookup auto' --method 'smollm2-135m auto' ;;
    batch) "$python" bench/micro/batch.py --json "$out-batch.json" ;;
    *) echo "decode_all.sh: expected humaneval, copying, tasks, sampled or batch, got $part" >&2
       exit 2 ;;
  esac
done
