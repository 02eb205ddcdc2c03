"""Tiny random transformers models of each family, and the feeds of a chain or a tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from anydraft import hf  # noqa: E402

VOCAB = 96
VOCABULARY = object()  # the adapter only hands it on


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads wait for each other longer than these models take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass
class Feed:
    """The core's Feed."""

    request: int
    tokens: list[int]
    positions: list[int]
    parents: list[int]
    keep: Any
    rows: int


def feed(tokens: list[int], keep: int = 0, rows: int | None = None, request: int = 0) -> Feed:
    """A chain behind the kept slots."""
    new = len(tokens)
    rows = new if rows is None else rows
    positions = list(range(keep, keep + new))
    return Feed(request, tokens, positions, list(range(-1, new - 1)), range(keep), rows)


def sizes(layers: int = 3, **more: Any) -> dict[str, Any]:
    numbers = {
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return {**numbers, **more}


def llama(**more: Any) -> Any:
    config = transformers.LlamaConfig(**sizes(tie_word_embeddings=True, **more))
    return transformers.LlamaForCausalLM(config)


def qwen2() -> Any:
    # Untied, and with biases on q, k and v only, which start as zeros.
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes()))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def gemma3() -> Any:
    # A window much shorter than the texts of the tests, three layers in four.
    config = transformers.Gemma3TextConfig(
        **sizes(layers=4, head_dim=8, sliding_window=7, query_pre_attn_scalar=8),
        layer_types=["sliding_attention"] * 2 + ["full_attention", "sliding_attention"],
    )
    return _random_norms(transformers.Gemma3ForCausalLM(config))


def mistral() -> Any:
    # The same window in every layer.
    config = transformers.MistralConfig(**sizes(sliding_window=9, head_dim=8))
    return transformers.MistralForCausalLM(config)


def qwen3() -> Any:
    config = transformers.Qwen3Config(**sizes(head_dim=10))
    return _random_norms(transformers.Qwen3ForCausalLM(config))


def phi3() -> Any:
    return transformers.Phi3ForCausalLM(transformers.Phi3Config(**sizes()))


def llama3_rope() -> Any:
    scaling = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
    more = {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    return llama(rope_parameters=scaling | more)


def yarn() -> Any:
    scaling = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    return llama(rope_parameters=scaling | {"original_max_position_embeddings": 128})


def _random_norms(model: Any) -> Any:
    """Norms start as ones, which would hide a weight that is left out."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


BUILDERS = {f.__name__: f for f in (llama, qwen2, gemma3, mistral, qwen3, phi3, llama3_rope, yarn)}


def build(name: str) -> Any:
    """The same random model at every call."""
    torch.manual_seed(7)
    return BUILDERS[name]().eval()


def wrap(model: Any, pack: bool = False) -> hf.HfModel:
    return hf.load(model, vocabulary=VOCABULARY, pack=pack)


def fresh(model: Any, tokens: list[int]) -> Any:
    """The logits [tokens, vocab] of one forward pass of transformers without a cache."""
    with torch.inference_mode():
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


def random_tokens(count: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = torch.randint(3, VOCAB, (count,), generator=generator).tolist()
    return drawn


def assert_close(got: Any, expected: Any) -> None:
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert float((got - expected).abs().max()) < 1e-4
