"""Small models' headers for the fuzzers of GGUF and safetensors:  seeds_models.py FOLDER"""

import json
import struct
import sys
from pathlib import Path

CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 300,
    "eos_token_id": [2, 3],
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
}
FAMILIES = (
    {},
    {"model_type": "gemma3_text", "sliding_window": 8},
    {"model_type": "phi3", "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 4}},
    {"model_type": "qwen2", "use_sliding_window": True, "layer_types": ["full_attention"] * 2},
)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(architecture: str) -> bytes:
    keys = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
    entries = [text("general.architecture") + struct.pack("<I", 8) + text(architecture)]
    for key, value in zip((*keys, "context_length"), (2, 32, 40, 4, 300), strict=True):
        entries.append(text(f"{architecture}.{key}") + struct.pack("<II", 4, value))
    entries.append(text("list") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"))
    entries.append(text("numbers") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3))
    tensors = [
        text("rope_factors_long.weight") + struct.pack("<IQIQ", 1, 4, 0, 0),
        text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 2, 2, 32),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    head += b"".join(entries + tensors)
    return head + bytes(-len(head) % 32) + bytes(32 + 36)


def safetensors(**changes: object) -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]},
        "b": {"dtype": "BF16", "shape": [16], "data_offsets": [128, 160]},
    }
    return json.dumps(CONFIG | changes).encode() + b"\0" + json.dumps(header).encode()


def main(folder: Path) -> None:
    for name in ("gguf", "safetensors"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for architecture in ("llama", "gemma3", "qwen2", "phi3"):
        (folder / "gguf" / architecture).write_bytes(gguf(architecture))
    for i, changes in enumerate(FAMILIES):
        (folder / "safetensors" / str(i)).write_bytes(safetensors(**changes))


main(Path(sys.argv[1]))
