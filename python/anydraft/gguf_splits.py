"""Pre-tokenisers by the name a GGUF file gives them, as their owners' tokenizer.json has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class NamedSplit:
    """What the owner of a `tokenizer.ggml.pre` does before byte pairs are merged."""

    parts: tuple[Json, ...]
    ignore_merges: bool = False
    nfc: bool = False


def _split(pattern: str) -> Json:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _bytes(words: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": words}


def _patterns(*patterns: str, **options: bool) -> NamedSplit:
    return NamedSplit((*map(_split, patterns), _bytes(words=False)), **options)


_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACE = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_CL100K = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + _SPACE
_QWEN2 = _CL100K.replace("{1,3}", "")
_QWEN35 = (
    _ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACE
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"


def _cased(ending: str, digits: str) -> str:
    """Words that also end where a capital begins."""
    start = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{start}{_UPPER}*{_LOWER}+{ending}|{start}{_UPPER}+{_LOWER}*{ending}|{digits}"
        + _MARKS
        + _SPACE
    )


_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)
# DeepSeek's first models: the letters of scripts that have two cases.
_CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ"
    "Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_CJK = "[一-龥ࠀ-一가-퟿]+"


def _deepseek(letters: str, punctuation: str, *, spaces: tuple[str, ...], each: bool) -> NamedSplit:
    patterns = (r"[\r\n]", rf"\s?{letters}+", rf"\s?{punctuation}+", *spaces, _CJK)
    digits: Json = {"type": "Digits", "individual_digits": each}
    return NamedSplit((*map(_split, patterns), digits, _bytes(words=False)))


_GPT2 = NamedSplit((_bytes(words=True),))
_NEOX = NamedSplit((_bytes(words=True),), nfc=True)
_EACH_DIGIT: Json = {"type": "Digits", "individual_digits": True}
_DIGITS = NamedSplit((_EACH_DIGIT, _bytes(words=True)))
_LLAMA3 = _patterns(_CL100K, ignore_merges=True)
_O200K = _patterns(_cased(_ENDINGS + "?", r"\p{N}{1,3}"))

_FALCON = NamedSplit(
    (
        {"type": "Punctuation", "behavior": "Contiguous"},
        _bytes(words=True),
        {"type": "Digits", "individual_digits": False},
        _split("[0-9][0-9][0-9]"),
    )
)

PRE_TOKENIZERS = {
    **dict.fromkeys(("gpt-2", "phi-2", "exaone4", "trillion", "granite-docling"), _GPT2),
    **dict.fromkeys(("mpt", "olmo"), _NEOX),
    **dict.fromkeys(
        ("starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b"), _DIGITS
    ),
    "command-r": NamedSplit(_DIGITS.parts, nfc=True),
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2"), _LLAMA3
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _patterns(_CL100K)),
    **dict.fromkeys(("glm4", "glm5"), _LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), _patterns(_QWEN2, nfc=True)),
    **dict.fromkeys(("stablelm2", "hunyuan", "solar-open", "grok-2"), _patterns(_QWEN2)),
    "qwen35": _patterns(_QWEN35, nfc=True),
    "tekken": _patterns(_cased("", r"\p{N}"), ignore_merges=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _O200K),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _patterns(*_DEEPSEEK3)),
    "deepseek-llm": _deepseek(
        f"[{_CASED_LETTERS}]", "[!-/:-~！-／：-～‘-‟　-。]", spaces=(r"\s+$",), each=True
    ),
    "deepseek-coder": _deepseek(r"\p{L}", r"\p{P}", spaces=(), each=True),
    "falcon": _FALCON,
    **dict.fromkeys(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        _patterns(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            r"|\s*[\r\n]|\s+(?!\S)|\s+"
        ),
    ),
    "seed-coder": _patterns(
        _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + _SPACE
    ),
    "minicpm5": _patterns(r"\p{N}{1,3}", _CL100K.replace("{1,3}", "+"), ignore_merges=True),
    **dict.fromkeys(
        ("bloom", "poro-chat", "gpt3-finnish"), _patterns(" ?[^(\\s|.,!?…。，、।۔،)]+")
    ),
    "viking": NamedSplit((_split(" ?[^(\\s|.,!?…。，、।۔،)]+"), _EACH_DIGIT, _bytes(words=False))),
}
