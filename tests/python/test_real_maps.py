"""Maps between real vocabularies against counts made without this project."""

import base64

import pytest
from real import owner_of, path_of, vocabulary_of

from anydraft import VocabularyMap

# Distinct byte strings of ordinary tokens, specials left out, counted from the files by hand.
SIZES = {"llama2": 31872, "llama3": 128000, "qwen3": 151655, "gemma3": 262026, "smollm2": 49135}
SHARED = {
    ("llama2", "llama3"): 29110,
    ("llama2", "qwen3"): 29234,
    ("llama3", "qwen3"): 109566,
    ("qwen3", "gemma3"): 95938,
    ("smollm2", "gemma3"): 46124,
    ("smollm2", "qwen3"): 39234,
    ("llama3", "gpt4o"): 103245,
    ("gemma3", "gpt4o"): 131000,
}


def space_runs(vocabulary):
    """Runs of two spaces or more that are tokens."""
    spelled = (vocabulary.token_bytes(i) or b"" for i in range(vocabulary.size))
    return {text for text in spelled if len(text) > 1 and not text.strip(b" ")}


def check_map(draft, target):
    """Both directions: a token of the same bytes, and only where there is one."""
    both = VocabularyMap(draft, target)
    for left, right, ids in (
        (draft, target, both.to_target),
        (target, draft, both.to_draft),
    ):
        theirs = {right.token_bytes(i) for i in range(right.size)} - {None}
        assert len(ids) == left.size
        for token in range(left.size):
            spelled = left.token_bytes(token)
            if spelled is not None:
                found = right.token_bytes(ids[token]) if ids[token] >= 0 else None
                assert found == (spelled if spelled in theirs else None)
    return both


def test_llama2_alone():
    vocabulary = vocabulary_of("llama2")
    assert check_map(vocabulary, vocabulary).shared == SIZES["llama2"]


def test_rank_files_against_their_lines():
    lines = {
        name: {
            base64.b64decode(line.split()[0]) for line in path_of(name).read_bytes().splitlines()
        }
        for name in ("gpt2", "qwen")
    }
    both = check_map(vocabulary_of("gpt2"), vocabulary_of("qwen"))
    assert both.shared == len(lines["gpt2"] & lines["qwen"]) > 30_000
    ends = [vocabulary_of(name).specials["<|endoftext|>"] for name in ("gpt2", "qwen")]
    assert both.to_target[ends[0]] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_own_sizes(name):
    vocabulary = vocabulary_of(name)
    assert VocabularyMap(vocabulary, vocabulary).shared == SIZES[name]


@pytest.mark.slow
@pytest.mark.parametrize("pair", SHARED, ids=" and ".join)
def test_shared_byte_strings(pair):
    left, right = map(vocabulary_of, pair)
    expected = SHARED[pair]
    if "gemma3" in pair:
        # The count took Gemma's added tokens "▁▁", "▁▁▁", ... for these signs; its owner decodes
        # them to spaces.
        expected += len(space_runs(left) & space_runs(right))
        assert owner_of("gemma3").decode([138]) == "  "
    assert check_map(left, right).shared == check_map(right, left).shared == expected
