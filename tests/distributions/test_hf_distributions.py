"""Sessions on tiny encoder-decoder and recurrent models: every branch, with its exact weight."""

from __future__ import annotations

from collections import Counter

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from anydraft import SamplingParams, _core, _testing, hf  # noqa: E402
from tests.distributions.sessions import largest_difference, words  # noqa: E402
from tests.models.tiny import spread  # noqa: E402

PARAMS = SamplingParams(temperature=1.3)
TOKENS = 3
TARGET = words("a", "b", "", specials={"<s>": 2})
DRAFTER = words("ab", "b", "a", "", specials={"<s>": 3})
ANOTHER_START = words("ab", "b", "a", "", specials={"<begin>": 3})
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "tie_word_embeddings": False,
}


def t5(vocab, start):
    config = transformers.T5Config(
        vocab_size=vocab, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
        decoder_start_token_id=start, pad_token_id=0, eos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def t5gemma(vocab, start):
    part = {**SIZES, "pad_token_id": 0, "vocab_size": vocab, "layer_types": ["full_attention"] * 2}
    config = transformers.T5GemmaConfig(
        encoder=part, decoder=part, vocab_size=vocab, decoder_start_token_id=start
    )
    return transformers.T5GemmaForConditionalGeneration(config)


def gated_delta(vocab, _start):
    config = transformers.Qwen3_5TextConfig(
        **SIZES, vocab_size=vocab, layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=1, linear_num_value_heads=2, linear_key_head_dim=8,
        linear_value_head_dim=8,
    )  # fmt: skip
    return transformers.Qwen3_5ForCausalLM(config)


def mamba2(vocab, _start):
    config = transformers.Mamba2Config(
        vocab_size=vocab, hidden_size=16, num_hidden_layers=2, num_heads=4, head_dim=8,
        n_groups=1, state_size=8, pad_token_id=None, bos_token_id=None, eos_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.Mamba2ForCausalLM(config)


def load(kind, vocabulary, start, seed):
    torch.manual_seed(seed)
    model = kind(vocabulary.size, start)
    spread(model, seed)
    return hf.load(model, vocabulary=vocabulary, pack=False)


def drive(engine, target, drafter, prompt, **options):
    """One request to its end -> its ids."""
    encoded = hasattr(target, "open")
    ids = target.decoder_prompt(prompt) if encoded else prompt
    request = engine.add(ids, sampling=PARAMS, max_tokens=TOKENS, **options)
    for model, number in ((target, request), (drafter, request + 1)):
        if encoded:
            model.open(number, prompt, target)
    while (work := engine.next()).model != "idle":
        engine.feed(work, (target if work.model == "target" else drafter)(work.feeds))
    engine.check(request)
    for model, number in ((target, request), (drafter, request + 1)):
        model.forget(number)
    return tuple(token for token, *_ in engine.emitted(request))


def played(target, drafter, prompt, bridge, widths):
    """{text: probability} over all branches, and the branches' number."""
    branches = _testing.Branches(None)
    found, count = Counter(), 0
    options = _core.DrafterOptions(
        bridge=bridge, draft_length=2, tree=_core.TreeShape(widths), random_source=branches
    )
    while True:
        branches.restart()
        tables = target.vocabulary.table, drafter.vocabulary.table
        engine = _core.Engine(*tables, options)
        text = drive(engine, target, drafter, prompt)
        found[text] += branches.weight
        count += 1
        if not branches.advance():
            return found, count


def exact(target, prompt):
    """{text: probability} by passes without a cache."""
    model, encoded = target.model, hasattr(target, "open")
    start = target.decoder_prompt(prompt) if encoded else list(prompt)
    distribution = {(): 1.0}
    for _ in range(TOKENS):
        longer = {}
        for text, mass in distribution.items():
            ids = torch.tensor([[*start, *text]])
            given = {"input_ids": ids}
            if encoded:
                given = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": ids}
                given["attention_mask"] = torch.ones_like(given["input_ids"])
                given["decoder_attention_mask"] = torch.ones_like(ids)
            with torch.inference_mode():
                row = model(**given, use_cache=False).logits[0, -1].double()
            for token, p in enumerate((row / PARAMS.temperature).softmax(-1).tolist()):
                longer[(*text, token)] = mass * p
        distribution = longer
    return distribution


CASES = [
    *((kind, TARGET, "same", ()) for kind in (t5, gated_delta, mamba2)),
    *((kind, DRAFTER, bridge, ()) for kind in (t5, gated_delta) for bridge in ("tli", "slem")),
    (t5, DRAFTER, "slrs", ()),
    (t5, ANOTHER_START, "tli", ()),
    (mamba2, DRAFTER, "slrs", ()),
    (t5gemma, DRAFTER, "tli", ()),
    (t5gemma, TARGET, "same", (2, 1)),
    (t5gemma, ANOTHER_START, "tli", (2, 1)),
]


@pytest.mark.parametrize(("kind", "own", "bridge", "widths"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_every_branch_of_a_session(kind, own, bridge, widths):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        target = load(kind, TARGET, 2, seed=1)
        drafter = load(kind, own, 2 if own is TARGET else 3, seed=2)
        prompt = [0, 1, 1, 0]
        found, count = played(target, drafter, prompt, bridge, widths)
        assert sum(found.values()) == pytest.approx(1, abs=1e-9)
        assert count > 20  # or nothing was drafted
        assert largest_difference(found, exact(target, prompt)) < 2e-6
    finally:
        torch.set_num_threads(threads)
