"""Rotary parameters of a config.json as people write it, in the native decoder and transformers."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import native_toys as toys  # noqa: E402
from native_toys import chain, tokens  # noqa: E402

from anydraft import InputError, _core  # noqa: E402

TEXT = tokens(40)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = toys.FAMILIES["llama-llama3"][1]["rope_scaling"]
FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.5, 2.0, 3.0, 4.0]}
# Factors that transformers reads with some types alone.
OTHERS = {"attention_factor": 3.0, "mscale": 2.0, "mscale_all_dim": 0.5}


def folder_with(tmp_path, kind, entries):
    """A toy whose config.json has these in place of what transformers made of its parameters."""
    toys.build(kind, tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for key in ("rope_parameters", "original_max_position_embeddings"):
        config.pop(key, None)
    path.write_text(json.dumps(config | entries))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        # What stands beside the parameters is the original context.
        ("llama", {"rope_scaling": YARN, "original_max_position_embeddings": 64}),
        ("llama", {"rope_scaling": LLAMA3, "original_max_position_embeddings": 64}),
        ("llama", {"rope_scaling": {"type": "yarn", "factor": 4.0}}),
        # But not Gemma 3's.
        ("gemma3", {"rope_scaling": YARN, "original_max_position_embeddings": 64}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, **OTHERS}}),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0, **OTHERS}}),
        ("llama", {"rope_scaling": {**LLAMA3, **OTHERS}}),
        ("llama", {"rope_scaling": {"type": "default", **OTHERS}}),
        ("llama", {"rope_scaling": {**YARN, **OTHERS, "attention_factor": 0.7}}),
        ("llama", {"rope_scaling": {**YARN, "mscale": 2.0, "mscale_all_dim": 0.5}}),
        # Phi-3's longrope: its older names, and 4096 where the original context is not beside it.
        *(
            ("phi3", {"rope_scaling": {"type": kind, **FACTORS, **own}} | beside)
            for kind, own, beside in [
                ("yarn", {}, {"original_max_position_embeddings": 60}),
                ("su", {"original_max_position_embeddings": 50}, {}),
                ("longrope", {"mscale": 2.0, "mscale_all_dim": 0.5}, {}),
                ("longrope", {"original_max_position_embeddings": 24}, {}),
            ]
        ),
        # A part of a head turns in Phi-3 alone.
        *(
            (kind, {"partial_rotary_factor": 0.5})
            for kind in ("llama", "smollm3", "mistral", "qwen2", "qwen3", "gemma3", "phi3")
        ),
        ("qwen2", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
    ],
)
def test_parameters_count_as_in_transformers(kind, entries, tmp_path):
    folder = folder_with(tmp_path, kind, entries)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        expected = model(torch.tensor([TEXT])).logits[0].numpy()
    rows = _core.Decoder(str(folder), "float32", "float32").forward([chain(TEXT)])
    assert np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_transformers_cannot_compute_is_refused_by_name(tmp_path):
    linear = {"rope_type": "linear", "factor": 2.0}
    for kind, entries, what in [
        (
            "llama",
            {"rope_scaling": linear, "partial_rotary_factor": 0.5},
            "no partial_rotary_factor with rope type linear in a llama model, got 0.5",
        ),
        ("llama", {"rope_scaling": {"type": "su", **FACTORS}}, "a rope type out of .*, got su"),
        ("phi3", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "short and long factors"),
        ("llama", {"rope_scaling": {**YARN, "attention_factor": 0.0}}, "other than 0"),
    ]:
        with pytest.raises(InputError, match=what):
            _core.Decoder(str(folder_with(tmp_path, kind, entries)), "float32", "float32")
