"""Byte tables, roles and maps of tokenizer.json files, against the `tokenizers` library."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from anydraft import (
    Error,
    InputError,
    UnsupportedTokenizerError,
    Vocabulary,
    VocabularyError,
    VocabularyMap,
)
from anydraft._core import complete_utf8

CORPUS = [
    "the quick brown fox jumps over the lazy dog and says hello world, hello world!",
    "def main(args):\n    return [x for x in args if x > 1234]\n\n\n" * 3,
    "Ã© é ééé naïve café 日本語 日本 🎉🎉 ﬁ e\u0301 <0x41> </s>",
    "    four spaces        and more    ",
] * 4
SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", *SPECIALS[2:]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentencepiece_style():
    """As Llama-2's: a prefix space, every space a sign, bytes for what has no token, BOS first."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    prepend = normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *prepend])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    fallbacks = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", *SPECIALS[:2], *fallbacks],
        limit_alphabet=60,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    data = json.loads(tokenizer.to_str())
    # The trainer knows only special tokens; in real files the fallbacks are ordinary entries.
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] not in fallbacks]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


OWNERS = {"byte-level": byte_level(), "sentencepiece": sentencepiece_style()}
VOCABULARIES = {name: Vocabulary.from_json(owner.to_str()) for name, owner in OWNERS.items()}
EVERY = pytest.mark.parametrize("name", OWNERS)


@EVERY
@settings(max_examples=300, deadline=None)
@given(text=st.text(), raw=st.binary(max_size=12))
def test_encode_joins_to_exactly_the_bytes_it_was_given(name, text, raw):
    vocabulary = VOCABULARIES[name]
    for given_bytes in (text.encode("utf-8", "ignore"), raw, text.encode("utf-8", "ignore") + raw):
        ids = vocabulary.encode(given_bytes)
        assert vocabulary.decode(ids) == given_bytes
        assert not {*ids} & {*vocabulary.specials.values()}


@EVERY
def test_tokens_spell_what_their_owner_decodes(name):
    owner, vocabulary = OWNERS[name], VOCABULARIES[name]
    for token in range(vocabulary.size):
        spelled = vocabulary.token_bytes(token)
        if spelled is None:
            assert token in vocabulary.specials.values()
        elif b"\xef\xbf\xbd" not in owner.decode([token]).encode():
            # The owner decodes whole texts: it alone drops a text's first space.
            assert owner.decode([token]).encode() in (spelled, spelled.removeprefix(b" "))


def test_ids_are_the_owners_for_plain_text():
    owner, vocabulary = OWNERS["byte-level"], VOCABULARIES["byte-level"]
    for text in CORPUS:
        # The owner puts a space before a text that has none, the exact encoder does not.
        spaced = text if text.startswith(" ") else " " + text
        assert vocabulary.encode(spaced) == owner.encode(text, add_special_tokens=False).ids


def test_what_a_user_types_is_no_special_token():
    for name, text in [("byte-level", "<|im_end|>"), ("sentencepiece", "</s>")]:
        vocabulary = VOCABULARIES[name]
        assert text in vocabulary.specials
        assert vocabulary.specials[text] not in vocabulary.encode(text)


def test_roles_and_prefix():
    first, second = VOCABULARIES.values()
    assert first.role("turn_end") == (first.specials["<|im_end|>"],)
    assert first.role("eos") == (first.specials["<|endoftext|>"],)
    assert first.prefix == []
    assert second.prefix == [second.specials["<s>"]] == list(second.role("bos"))
    named = Vocabulary.from_json(
        OWNERS["byte-level"].to_str(), config={"bos_token": {"content": "<|im_start|>"}}
    )
    assert named.role("bos") == ()  # a chat turn, whatever the file calls it


def test_map_by_bytes_and_roles():
    draft, target = VOCABULARIES["sentencepiece"], VOCABULARIES["byte-level"]
    maps = VocabularyMap(draft, target)
    ours = {draft.token_bytes(i) for i in range(draft.size)} - {None}
    theirs = {target.token_bytes(i) for i in range(target.size)} - {None}
    assert maps.shared == len(ours & theirs) > 256
    for token, other in enumerate(maps.to_target):
        if draft.token_bytes(token) is None:
            continue
        assert (other >= 0) == (draft.token_bytes(token) in theirs)
        if other >= 0:
            assert target.token_bytes(other) == draft.token_bytes(token)
    assert maps.to_target[draft.specials["</s>"]] == target.specials["<|endoftext|>"]
    assert maps.to_draft[target.specials["<|im_end|>"]] == draft.specials["</s>"]
    assert maps.to_target[draft.specials["<unk>"]] == -1
    # Byte fallbacks repeat ordinary tokens: both lead to the target's token, the ordinary one back.
    fallback = OWNERS["sentencepiece"].token_to_id("<0x61>")
    ordinary = OWNERS["sentencepiece"].token_to_id("a")
    assert maps.to_target[fallback] == maps.to_target[ordinary] >= 0
    assert maps.to_draft[maps.to_target[ordinary]] == ordinary


def test_bytes_are_compared_not_token_strings():
    """Byte-level "Ã©" is é; the same signs in a SentencePiece vocabulary are themselves."""
    first, second = VOCABULARIES.values()
    strings = OWNERS["byte-level"].get_vocab()
    assert first.token_bytes(strings["Ã©"]) == "é".encode()
    maps = VocabularyMap(first, second)
    assert second.token_bytes(maps.to_target[strings["Ġ"]]) == b" "
    newline = maps.to_target[strings["Ċ"]]
    assert second.token_bytes(newline) == b"\n"


@given(text=st.text(min_size=1), cut=st.integers(0, 3))
def test_unfinished_characters_are_held_back(text, cut):
    whole = text.encode("utf-8", "ignore")
    part = whole[: max(len(whole) - cut, 0)]
    end = complete_utf8(part)
    assert len(part) - end < 4
    part[:end].decode()
    if end < len(part):
        with pytest.raises(UnicodeDecodeError):
            part[end:].decode()
    assert complete_utf8(part + b"\xff") == len(part) + 1  # never heals: not held


def test_parts_that_are_not_supported_are_named(tmp_path):
    def refused(match, **parts):
        data = json.loads(byte_level().to_str()) | parts
        with pytest.raises(UnsupportedTokenizerError, match=match):
            Vocabulary.from_json(json.dumps(data))

    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    refused("pattern of Split.*group", pre_tokenizer=split | {"pattern": {"Regex": r"(?<=a)\d{2}"}})
    refused("an empty match", pre_tokenizer=split | {"pattern": {"Regex": "a*"}})
    refused("Nmt", normalizer={"type": "Nmt"})
    refused("UnicodeScripts", pre_tokenizer={"type": "UnicodeScripts"})
    refused("CTC", decoder={"type": "CTC"})
    refused("WordLevel", model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"})
    refused("dropout", model=json.loads(byte_level().to_str())["model"] | {"dropout": 0.1})
    with pytest.raises(VocabularyError, match="expected JSON"):
        Vocabulary.from_json("{")
    with pytest.raises(VocabularyError, match="with a model"):
        Vocabulary.from_json("{}")
    with pytest.raises(FileNotFoundError):
        Vocabulary.from_file(tmp_path / "tokenizer.json")


def test_the_owners_library_is_a_visible_fallback():
    owner = byte_level()
    owner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.UnicodeScripts(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.warns(UserWarning, match="UnicodeScripts.*tokenizers library"):
        vocabulary = Vocabulary.from_json(owner.to_str(), fallback=True)
    assert not vocabulary.native
    text = CORPUS[2]
    assert vocabulary.exact
    assert vocabulary.decode(vocabulary.encode(text)) == text.encode()
    for text in CORPUS:
        ids = owner.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode_as_owner(text) == ids
        assert vocabulary.decode_as_owner(ids) == owner.decode(ids, skip_special_tokens=False)
    with pytest.raises(UnsupportedTokenizerError, match="fallback=True"):
        Vocabulary.from_json(owner.to_str())


def test_a_fallback_keeps_the_owners_prompt_and_loses_nothing():
    """What the owner drops or changes is refused where a text must be spelled."""
    owner = byte_level()
    owner.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Lowercase()])
    with pytest.warns(UserWarning, match="Nmt"):
        vocabulary = Vocabulary.from_json(owner.to_str(), fallback=True)
    ids = owner.encode("Hello WORLD", add_special_tokens=False).ids
    assert vocabulary.encode_as_owner("Hello WORLD") == ids
    assert vocabulary.decode(vocabulary.encode("Hello")) == b"Hello"
    owner = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    owner.pre_tokenizer = pre_tokenizers.UnicodeScripts()
    with pytest.warns(UserWarning, match="UnicodeScripts"):
        lossy = Vocabulary.from_json(owner.to_str(), fallback=True)
    assert not lossy.exact
    assert lossy.encode_as_owner("abcba") == [0, 1, 1, 0]
    with pytest.raises(VocabularyError, match="can spell"):
        lossy.encode("abcba")


def with_merge_to(special):
    """A merge whose token is a special, or was added after training."""
    data = json.loads(byte_level().to_str())
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    vocab["qz"] = len(vocab)
    merges.insert(0, ["q", "z"])
    token = {"id": vocab["qz"], "content": "qz", "special": special, "normalized": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    data["added_tokens"].append(token | flags)
    return Tokenizer.from_str(json.dumps(data))


@pytest.mark.parametrize("special", [True, False])
def test_a_merge_may_yield_a_special_or_added_token(special):
    owner = with_merge_to(special)
    vocabulary = Vocabulary.from_json(owner.to_str())
    owner.encode_special_tokens = True
    for text in ("qz", "aqzb", " q z qqzz"):
        ids = owner.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode_as_owner(text, specials=False) == ids


def test_a_byte_without_a_token_of_its_own():
    """Gemma's files have no <0x09>: the tab is an ordinary token."""
    data = json.loads(sentencepiece_style().to_str())
    vocab = data["model"]["vocab"]
    vocab["\t"] = vocab.pop("<0x09>")
    owner = Tokenizer.from_str(json.dumps(data))
    vocabulary = Vocabulary.from_json(owner.to_str())
    assert vocabulary.exact
    for text in ("a\tb", "\t\t", "日\t本"):
        ids = owner.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode_as_owner(text) == ids
        assert vocabulary.decode(vocabulary.encode(text)) == text.encode()
    del vocab["<0xE6>"]  # and one that nothing stands for: the owner's character is unknown
    owner = Tokenizer.from_str(json.dumps(data))
    vocabulary = Vocabulary.from_json(owner.to_str())
    assert not vocabulary.exact
    for text in ("日本", "a日b"):
        ids = owner.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode_as_owner(text) == ids


@pytest.mark.parametrize("lstrip", [True, False])
@pytest.mark.parametrize("rstrip", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_added_tokens_beside_a_prepending_normaliser(lstrip, rstrip, normalized):
    owner = sentencepiece_style()
    token = AddedToken("[X]", lstrip=lstrip, rstrip=rstrip, normalized=normalized)
    owner.add_tokens([token])
    vocabulary = Vocabulary.from_json(owner.to_str())
    for text in ("[X]", "a [X] b", "  [X]  ", "\n[X]\n a", "[X][X]", "a[X]", " [X] [X]"):
        ids = owner.encode(text, add_special_tokens=False).ids
        assert vocabulary.encode_as_owner(text) == ids, text


def test_word_pieces_show_the_owners_spaces():
    """Token by token, as a run shows them, the text is the owner's but for its first space."""
    words = "[UNK] the quick ##est fox , . ' s n't do not ##n't".split()
    owner = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    owner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    owner.decoder = decoders.WordPiece()
    vocabulary = Vocabulary.from_json(owner.to_str())
    ids = [words.index(w) for w in "the quick ##est fox , the fox . do n't ##n't".split()]
    shown = b"".join(vocabulary.decode([token]) for token in ids).decode()
    assert shown == " " + owner.decode(ids) == " " + vocabulary.decode_as_owner(ids)
    assert shown.startswith(" the quickest fox, the fox.")


def test_files_that_would_take_all_memory_or_are_none():
    plain = json.loads(byte_level().to_str())

    def refused(**model):
        with pytest.raises(VocabularyError, match=r"\[Vocabulary\] expected"):
            Vocabulary.from_json(json.dumps(plain | {"model": plain["model"] | model}))

    vocab = plain["model"]["vocab"]
    for wrong in (2**31 - 1, 2**63, -1, "7", 1.5, None, True):
        refused(vocab=vocab | {"zz": wrong})
    refused(vocab=[1, 2])
    refused(merges=[["a"]])
    refused(merges=[7])
    refused(merges="ab")
    refused(merges=[["x", "z"]], vocab={"x": 0, "z": 1})
    for text in ("[" * 100_000, '{"model":' * 50_000, "[]", "7", '{"model": 7}'):
        with pytest.raises(VocabularyError):
            Vocabulary.from_json(text)
    nested = {"type": "NFC"}
    for _ in range(400):
        nested = {"type": "Sequence", "normalizers": [nested]}
    for wrong in (nested, 7, {"type": 7}, {"type": "Sequence"}, {"type": "Precompiled"}):
        with pytest.raises((VocabularyError, UnsupportedTokenizerError)):
            vocabulary = Vocabulary.from_json(json.dumps(plain | {"normalizer": wrong}))
            assert vocabulary.encode_as_owner("a") and wrong is nested
            raise VocabularyError("a deep sequence that is still fine")


WRONG = (7, -1, 2**40, 1e300, True, None, "x", [], [1], ["x"], {}, {"a": 1}, {"type": 7})


@pytest.mark.parametrize("deep", ["[" * 10**5 + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5])
def test_deep_json_is_an_error_wherever_it_stands(deep):
    for part in ("model", "normalizer", "pre_tokenizer", "added_tokens", "anything"):
        with pytest.raises(VocabularyError, match=r"\[Vocabulary\] expected JSON"):
            Vocabulary.from_json(f'{{"{part}": {deep}}}')


def test_fields_of_the_wrong_type_are_errors_or_what_the_owner_means():
    """Never another exception, nor a vocabulary that then fails otherwise."""
    plain = json.loads(byte_level().to_str())
    token = {"id": 0, "content": "<s>", "special": True, "normalized": False, "lstrip": False}
    told = 0
    for wrong in WRONG:
        files = [plain | {field: wrong} for field in plain]
        files += [plain | {"model": plain["model"] | {field: wrong}} for field in plain["model"]]
        files += [plain | {"added_tokens": [token | {field: wrong}]} for field in token]
        for file in files:
            try:
                vocabulary = Vocabulary.from_json(json.dumps(file))
                vocabulary.decode_as_owner(vocabulary.encode_as_owner("a b"))
            except Error as error:
                assert "expected" in str(error)
                told += 1
    assert told > 100


def test_lone_surrogates_and_ids_out_of_range():
    vocabulary = VOCABULARIES["byte-level"]
    for call in (vocabulary.encode, vocabulary.encode_as_owner):
        with pytest.raises(InputError, match=r"U\+D800 at 1"):
            call("a\ud800")
    for call in (vocabulary.decode, vocabulary.decode_as_owner):
        with pytest.raises(InputError, match="2147483648"):
            call([1, 2**31])


def test_what_cannot_be_spelled_is_refused_not_lost():
    lossy = Vocabulary.from_json(Tokenizer(models.BPE({"a": 0, "b": 1}, [])).to_str())
    assert not lossy.exact
    assert lossy.encode("abba") == [0, 1, 1, 0]
    assert lossy.encode_as_owner("abcba") == [0, 1, 1, 0]  # the owner drops what it does not know
    with pytest.raises(VocabularyError, match="can spell"):
        lossy.encode("abcba")


def test_added_tokens_that_are_not_special_are_text():
    owner = byte_level()
    owner.add_tokens([AddedToken("hello world", normalized=False)])
    vocabulary = Vocabulary.from_json(owner.to_str())
    assert vocabulary.encode("xhello world") == [
        *vocabulary.encode("x"),
        owner.token_to_id("hello world"),
    ]
    assert vocabulary.token_bytes(owner.token_to_id("hello world")) == b"hello world"
