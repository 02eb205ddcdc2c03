"""The bench of the kernels: it checks before it times, and writes what it found."""

import json

import pytest
import torch

from anydraft import SamplingParams, Vocabulary, stateless
from anydraft.bench import kernels_cpu, timing
from anydraft.cli import main


def test_writes_ratios_to_every_peer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "STREAMED_BYTES", 1 << 20)
    out = tmp_path / "kernels.json"
    status = main(["bench", "kernels", "--vocab", "5000", "--seconds", "0", "--out", str(out)])
    assert status == 0
    result = json.loads(out.read_text())
    assert [row["accepted"] for row in result["chains"]] == [2, 4]
    for row in result["chains"]:
        assert set(row["ratios"]) == {"bare exponentials", "transformers: _speculative_sampling"}
    assert all(row["limit"] > 0 for row in result["batches"])
    draws = {row["what"]: row["ratios"] for row in result["draws"]}
    assert set(draws) == set(kernels_cpu.DRAWS)
    assert all(ratio > 0 for ratios in draws.values() for ratio in ratios.values())
    assert "torch: topk first, then the k filtered" in draws["top-k 50, top-p 0.95"]
    assert out.with_suffix(".md").read_text() in capsys.readouterr().out + "\n"


def test_a_wrong_distribution_ends_the_bench(monkeypatch):
    """The engine is asked for another temperature than the reference is told."""
    other = SamplingParams(temperature=1.1)
    real = kernels_cpu.probs
    monkeypatch.setattr(kernels_cpu, "probs", lambda rows, _: real(rows, other))
    with pytest.raises(AssertionError, match="distribution at vocab 1000"):
        kernels_cpu._check(1000, "float32", SamplingParams(temperature=0.8), 3.0)


def test_tokens_that_come_with_the_prompt_are_not_decoding():
    """Drafts are judged with the prompt: a first call that keeps them all makes five tokens."""
    from anydraft.bench.decode import Method, Ours, summary

    letters = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 9.0, letters)
    ours = Ours(model, {"self": model}, SamplingParams(temperature=0))
    drafting = Method("self 4", "self", {"bridge": "same", "draft_length": 4})
    plain = ours.run(Method("plain", ""), 0, [0], 10)
    drafted = ours.run(drafting, 0, [0], 10)
    assert plain.tokens == drafted.tokens and (plain.first, drafted.first) == (1, 5)
    assert drafted.speed == 5 / drafted.decoding and plain.speed == 9 / plain.decoding
    # A text that is there when the prompt is read has no speed, and spoils no other's.
    short = ours.run(drafting, 1, [0], 3), ours.run(Method("plain", ""), 1, [0], 3)
    assert short[0].first == 3 and short[0].speed == 0
    assert summary([plain, drafted, *short])["methods"]["plain"]["prompts"] == 2


def test_pooled_decoding_counts_all_that_was_chosen():
    """Plain takes 4 seconds for 4 tokens; llama.cpp 2, and OpenVINO, at its best, 1."""
    from anydraft.bench.decode import Run, by_kind, summary

    def run(method, prompt, seconds, tokens=(1, 2, 3, 4, 5)):
        return Run(method, prompt, list(tokens), 1.0, seconds, 0.0, 5)

    seconds = {
        "plain": 4.0, "llama.cpp plain": 2.0, "llama.cpp draft": 1.0, "openvino plain": 2.0,
        "openvino draft": 1.0, "a auto": 0.5, "b auto": 0.8,
    }  # fmt: skip
    runs = [run(name, n, each * (n + 1)) for n in range(3) for name, each in seconds.items()]
    runs.append(run("c auto", 0, 0.1, tokens=(1, 2, 9, 4, 5)))
    told = summary(runs, ["a auto", "b auto"])
    ratios = [told[f"best_over_{name}"] for name in ("plain", "llamacpp", "openvino")]
    assert ratios == [8, 4, 2] and told["methods"]["openvino plain"]["over_plain"] == 2
    assert not told["texts_equal"] and told["methods"]["b auto"]["texts_equal"]
    assert told["methods"]["a auto"]["least_over_plain"] == 8
    # Of a prompt's three runs the median counts (4 s and 1), for the least the quickest (1, 0.5).
    slower = [("a auto", 4.0), ("a auto", 1.0), ("plain", 1.0), ("plain", 5.0)]
    turns = [run(name, 0, each) for name, each in slower]
    more = [*runs, *turns, run("b auto", 0, 9.0, tokens=(7, 7, 7, 7, 7))]
    again = summary(more)["methods"]
    assert again["a auto"]["least_over_plain"] == 2 and not again["b auto"]["texts_equal"]
    first = [each for each in more if each.prompt == 0]
    assert by_kind(first, {0: "code: 0"})["code"]["a auto"] == 4
    kinds = by_kind(runs, {0: "code: 0", 1: "code: 1", 2: "HumanEval/2"})
    assert kinds["code"]["a auto"] == kinds["HumanEval"]["a auto"] == 8
    assert kinds["code"]["c auto"] == 40 and "c auto" not in kinds["HumanEval"]
