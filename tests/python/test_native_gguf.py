"""Toys of families of which no real GGUF file is at hand, written as converters write them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")

import native_toys as toys  # noqa: E402
from gguf_toys import write  # noqa: E402
from native_toys import chain, tokens  # noqa: E402

from anydraft import InputError, _core  # noqa: E402

NAMES = ["llama-biases", "llama-llama3", "llama-linear", "smollm3", "qwen2", "qwen3", "gemma3"]
NAMES += ["phi3", "phi3-longrope", "llama-yarn"]


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_file_gives_the_logits_of_transformers(name, tmp_path):
    model = toys.build(name, tmp_path)
    architecture = {"gemma3": "gemma3"}.get(name, toys.FAMILIES[name][0])
    write(model, tmp_path / "model.gguf", architecture)
    text = tokens(20 if "longrope" in name else 40)
    with torch.no_grad():
        expected = model(torch.tensor([text])).logits[0].numpy()
    rows = _core.Decoder(str(tmp_path / "model.gguf"), None, "float32").forward([chain(text)])
    assert np.abs(rows - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_is_not_supported_is_refused_by_name(tmp_path):
    model = toys.build("llama", tmp_path)
    path = tmp_path / "model.gguf"
    write(model, path, "mamba2")
    with pytest.raises(InputError, match="mamba2"):
        _core.Decoder(str(path), None, "float32")
    write(model, path, "qwen3")
    with pytest.raises(InputError, match="attn_q_norm"):
        _core.Decoder(str(path), None, "float32")
    write(model, path, "llama")
    with pytest.raises(InputError, match="taken as it is"):
        _core.Decoder(str(path), "int8", "float32")
    # The tensor's type becomes I32, of the same size.
    content = path.read_bytes()
    name = b"blk.1.ffn_down.weight"
    at = content.index(name) + len(name) + 4 + 16
    path.write_bytes(content[:at] + (26).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(InputError, match="got I32"):
        _core.Decoder(str(path), None, "float32")
