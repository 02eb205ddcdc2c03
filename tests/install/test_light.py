"""Without any extra: nothing but the standard library can be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ALONE = """
import importlib.abc, sys

class StandardLibraryOnly(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"anydraft", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, StandardLibraryOnly())
"""
USES = """
import json
from anydraft import SamplingParams, SpeculativeSession, Vocabulary, VocabularyMap

text, unsupported = json.load(sys.stdin)
vocabulary = Vocabulary.from_json(text)
ids = vocabulary.encode("abba")
print(ids, vocabulary.decode(ids).decode())
Vocabulary.from_json(unsupported, fallback=True)
"""


def tokenizer(*before: pre_tokenizers.PreTokenizer) -> str:
    """A tokenizer.json of two letters and the pair of them."""
    inner = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    text: str = inner.to_str()
    return text


def test_vocabularies_need_no_other_package() -> None:
    files = json.dumps([tokenizer(), tokenizer(pre_tokenizers.UnicodeScripts())])
    done = subprocess.run(
        [sys.executable, "-c", ALONE + USES],
        input=files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[2, 1, 0] abba\n", done.stderr
    assert done.stderr.splitlines()[-1].startswith("ImportError: fallback=True needs tokenizers")
    assert "pip install 'anydraft[tokenizers]'" in done.stderr


def test_the_base_installation_depends_on_nothing() -> None:
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert re.search(r"^dependencies = \[\]$", text, re.MULTILINE)
