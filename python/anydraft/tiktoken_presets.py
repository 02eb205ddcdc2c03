"""What a tiktoken rank file does not say: its pattern and its special tokens, by kind."""

from __future__ import annotations

from dataclasses import dataclass

# Where a text is cut before byte pairs are merged, in the spelling of those who trained with it.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class RankKind:
    """A tokeniser whose ranks come as a file of their own."""

    pattern: str
    specials: dict[str, int]
    sha256: str  # of the one rank file that is known to be of this kind
    bos: str | None = None  # put before every text
    eos: str | None = "<|endoftext|>"
    normalizer: str | None = None


def _llama3() -> dict[str, int]:
    named = {
        0: "<|begin_of_text|>",
        1: "<|end_of_text|>",
        6: "<|start_header_id|>",
        7: "<|end_header_id|>",
        9: "<|eot_id|>",
    }
    free = (i for i in range(256))
    return {
        named.get(i) or f"<|reserved_special_token_{next(free)}|>": 128000 + i for i in range(256)
    }


def _qwen() -> dict[str, int]:
    texts = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts += [f"<|extra_{i}|>" for i in range(205)]
    return {text: 151643 + i for i, text in enumerate(texts)}


_FIM = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]

RANK_KINDS = {
    "gpt2": RankKind(
        _GPT2,
        {"<|endoftext|>": 50256},
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    ),
    "p50k": RankKind(
        _GPT2,
        {"<|endoftext|>": 50256},
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    ),
    "cl100k": RankKind(
        _CL100K,
        {"<|endoftext|>": 100257, **{t: 100258 + i for i, t in enumerate(_FIM)}}
        | {"<|endofprompt|>": 100276},
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "o200k": RankKind(
        _O200K,
        {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "llama3": RankKind(
        _CL100K,
        _llama3(),
        "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    "qwen": RankKind(
        _CL100K.replace(r"\p{N}{1,3}", r"\p{N}"),
        _qwen(),
        "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
        normalizer="NFC",
    ),
}
