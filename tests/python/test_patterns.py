"""Split patterns that run through the core's own matcher, against the `tokenizers` library."""

import json
import random

import families
import pytest
from texts import code_points, in_context, texts_of
from tokenizers import Regex, Tokenizer
from tokenizers import pre_tokenizers as pre

from anydraft import UnsupportedTokenizerError, Vocabulary
from anydraft._core import Retokenizer
from anydraft.gguf_splits import PRE_TOKENIZERS

TEXTS = texts_of("patterns", 25_000)
BYTES = pre.ByteLevel(add_prefix_space=False, use_regex=False)
WORDS = pre.ByteLevel(add_prefix_space=False)
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
# Every construct once: classes and their negations, greedy, lazy and counted repeats, look-ahead,
# line ends, ignored case, escapes.
PATTERNS = [
    r"\p{L}+", r"\s+", "[aeiou]", r"\w+", r"\W", r"\d{2,3}", "(ab|a|b)+", r"(?:\p{L}\p{M}*)+",
    r"[^\S\n]+|\n", r".\n?", r"\s+$", "a$", "(?i:the|K)", r"x??y|\p{L}{2}", "[xy]{1,2}+z",
    r"\p{Lu}\p{Ll}*(?=\s)", r"(?!a)\p{L}", r"[^\p{L}\p{N}\s]", r"\S+(?!\S)", "[ab]++c",
    r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", r"\x41|\u00e9|\x{1F600}", r"[\r\n]|\P{L}|\p{^Ll}",
    "(?i:[a-f-])+",
]  # fmt: skip


@pytest.fixture(scope="module")
def owner():
    return families.byte_level(size=1500)


def check(owner, texts=TEXTS):
    owner.encode_special_tokens = True
    vocabulary = Vocabulary.from_json(owner.to_str())
    theirs = owner.encode_batch_fast(texts, add_special_tokens=False)
    for text, encoding in zip(texts, theirs, strict=True):
        assert vocabulary.encode_as_owner(text, specials=False) == encoding.ids, text
    return vocabulary


def check_in_pieces(vocabulary, seed):
    """Fed a few bytes at a time, the ids are those of the whole."""
    rng = random.Random(seed)
    for text in TEXTS[:60]:
        data, fed = text.encode(), 0
        retokenizer = Retokenizer(vocabulary.table)
        while fed < len(data):
            step = rng.randint(1, 9)
            retokenizer.feed(data[fed : fed + step])
            fed += step
            assert list(retokenizer.ids) == vocabulary.encode(data[:fed])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_cuts_where_the_owner_cuts(pattern, owner):
    for behavior in BEHAVIORS:
        for inverted in (False, True):
            split = pre.Split(Regex(pattern), behavior, inverted)
            owner.pre_tokenizer = pre.Sequence([split, BYTES])
            vocabulary = check(owner)
            if vocabulary.exact:
                check_in_pieces(vocabulary, pattern + behavior)


@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_punctuation_and_literals_before_and_behind_bytes(behavior, owner):
    for part in (pre.Punctuation(behavior), pre.Split("e", behavior), pre.Split(" ", behavior)):
        owner.pre_tokenizer = pre.Sequence([part, BYTES])
        check(owner)
        owner.pre_tokenizer = pre.Sequence([WORDS, part])
        check(owner)
    for each in (True, False):
        digits = [pre.Digits(each), pre.Split(Regex(r"\s|\p{Ll}"), behavior)]
        owner.pre_tokenizer = pre.Sequence([WORDS, *digits])
        check(owner)


@pytest.mark.parametrize("pattern", [r"\w", r"\d", r"\s", r"[\p{S}\p{P}]", "(?i:[a-z]+)"])
def test_classes_are_the_owners_on_every_code_point(pattern, owner):
    owner.pre_tokenizer = pre.Sequence([pre.Split(Regex(pattern), "isolated"), BYTES])
    check(owner, in_context(code_points()))


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_named_pre_tokenisers_run_natively(name, owner):
    data = json.loads(owner.to_str())
    parts = [part | {"trim_offsets": False} for part in PRE_TOKENIZERS[name].parts]
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts}
    vocabulary = check(Tokenizer.from_str(json.dumps(data)))
    assert vocabulary.exact
    check_in_pieces(vocabulary, name)


def test_what_a_pattern_has_beyond_this_is_named(owner):
    def refused(pattern, match):
        data = json.loads(owner.to_str())
        split = {"type": "Split", "behavior": "Isolated", "invert": False}
        data["pre_tokenizer"] = split | {"pattern": {"Regex": pattern}}
        with pytest.raises(UnsupportedTokenizerError, match=match):
            Vocabulary.from_json(json.dumps(data))

    refused("a*", "an empty match")
    refused("(?<=a)b", r"the group \(\?<=")
    refused(r"(a)\1", r"\\1")
    refused(r"\bword", r"\\b")
    refused(r"\p{Han}", "the class Han")
    refused("(a", "without an end")
    refused("a)", "a closing bracket")
    refused("[a", "without an end")
    for wrong in (r"[\w-_]", r"[\d-z]", r"[a-\d]"):  # neither does the owner take them
        refused(wrong, "a range that")
    refused("(" * 1000, "too deep")
    refused("(?:(?:ab){1000}){1000}", "too many repeats")


def test_a_pattern_that_would_run_for_ever_is_stopped(owner):
    data = json.loads(owner.to_str())
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    data["pre_tokenizer"] = split | {"pattern": {"Regex": "(?:a|aa|aaa|ab)+c"}}
    vocabulary = Vocabulary.from_json(json.dumps(data))
    with pytest.raises(UnsupportedTokenizerError, match="10\\^7 steps"):
        vocabulary.encode_as_owner("a" * 200)
