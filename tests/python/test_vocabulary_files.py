"""Every kind of file, read, exported and read again; broken ones are refused."""

import base64
import json
import os
import random

import families
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real import vocabulary_of
from texts import texts_of

from anydraft import Error, UnsupportedTokenizerError, Vocabulary, VocabularyError
from anydraft.vocabulary_files import KINDS

TEXTS = texts_of("files", 20_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return families.write_all(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def vocabularies(files):
    return {name: Vocabulary.from_file(path, kind=kind) for name, (path, kind) in files.items()}


FAMILIES = ["gpt2.json", "cl100k.json", "o200k.json", "llama.json", "bert.json"]
FAMILIES += ["bpe.model", "unigram.model", "ranks.tiktoken"]


def ids_or_error(encode, text):
    try:
        return encode(text)
    except VocabularyError:
        return "error"


@pytest.mark.parametrize("name", FAMILIES)
def test_an_exported_vocabulary_is_the_same_vocabulary(name, vocabularies, tmp_path):
    before = vocabularies[name]
    before.export(tmp_path / "table")
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    after = Vocabulary.from_file(tmp_path / "table")
    assert after == before
    assert after.specials == before.specials and after.prefix == before.prefix
    for role in ("bos", "eos", "pad", "unk", "turn_start", "turn_end"):
        assert after.role(role) == before.role(role)
    for text in [*TEXTS, b"\xff\x80a\xc3"]:
        ids = ids_or_error(before.encode, text)
        assert ids_or_error(after.encode, text) == ids
        if isinstance(text, str):
            ids = before.encode_as_owner(text)
            assert after.encode_as_owner(text) == ids
            assert after.decode_as_owner(ids) == before.decode_as_owner(ids)


def test_an_exported_file_is_replaced_whole(vocabularies, tmp_path):
    """A process that has the old file mapped goes on with it."""
    file = tmp_path / "table"
    vocabularies["gpt2.json"].export(file)
    old = Vocabulary.from_file(file)
    vocabularies["llama.json"].export(file)
    assert old == vocabularies["gpt2.json"] and Vocabulary.from_file(file) != old
    with pytest.raises(Error, match="nowhere"):
        vocabularies["gpt2.json"].export(tmp_path / "nowhere" / "table")


def test_damaged_tables_are_refused(vocabularies, tmp_path):
    file = tmp_path / "table"
    vocabularies["unigram.model"].export(file)
    whole = file.read_bytes()
    rng = random.Random(5)
    damaged = [whole[:size] for size in (0, 7, 8, 63, 64, len(whole) // 2, len(whole) - 1)]
    for _ in range(200):
        at = rng.randrange(len(whole))
        changed = bytes([whole[at] ^ (1 << rng.randrange(8))])
        damaged.append(whole[:at] + changed + whole[at + 1 :])
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises((VocabularyError, UnsupportedTokenizerError)):
            Vocabulary.from_file(file)
    file.write_bytes(whole)
    assert Vocabulary.from_file(file) == vocabularies["unigram.model"]


def test_kinds(files, tmp_path):
    ranks = files["ranks.tiktoken"][0]
    with pytest.raises(UnsupportedTokenizerError, match="which does not say its pattern"):
        Vocabulary.from_file(ranks)
    with pytest.raises(UnsupportedTokenizerError, match="expected kind in"):
        Vocabulary.from_file(ranks, kind="gpt5")
    with pytest.raises(VocabularyError, match="got ranks"):
        Vocabulary.from_file(ranks, kind="tekken")
    for kind in KINDS[3:]:
        assert Vocabulary.from_file(ranks, kind=kind).decode(range(94)) == bytes(range(33, 127))
    file = tmp_path / "file"
    for content, match in [
        (b"AA== 0\nAQ== 1\nBroken!\n", "line 3"),
        (b"AA== 0\n*** 1\n", "line 2"),
        (b"\x00\x01\x02nothing known", "expected a tokenizer.json, tekken"),
        (b"", "expected a tokenizer.json, tekken"),
        (b"{", "expected JSON"),
        (b'{"vocab": [], "config": {}}', "expected a tekken.json"),
    ]:
        file.write_bytes(content)
        with pytest.raises(VocabularyError, match=match):
            Vocabulary.from_file(file, kind="gpt2" if b"AA==" in content else None)
    with pytest.raises(FileNotFoundError):
        Vocabulary.from_file(tmp_path / "missing.model")


def test_a_sentencepiece_model_of_suffixes_is_refused(tmp_path):
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(families.sentencepiece_model("bpe"))
    model.trainer_spec.treat_whitespace_as_suffix = True
    file = tmp_path / "suffixes.model"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedTokenizerError, match="spaces as suffixes"):
        Vocabulary.from_file(file)


def test_a_rank_where_a_special_should_be(tmp_path):
    file = tmp_path / "ranks"
    file.write_bytes(base64.b64encode(b"x") + b" 50256\n")
    with pytest.raises(VocabularyError, match="another kind of ranks"):
        Vocabulary.from_file(file, kind="gpt2")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(data, files, tmp_path_factory):
    """Never anything but our own errors, and no crash in what can be read."""
    name = data.draw(st.sampled_from(sorted(files)))
    path, kind = files[name]
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    file = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}"
    file.write_bytes(content)
    try:
        vocabulary = Vocabulary.from_file(file, kind=kind)
    except Error:
        return
    for text in TEXTS[:5]:
        ids_or_error(vocabulary.encode, text)
        vocabulary.decode_as_owner(vocabulary.encode_as_owner(text))


def test_specials_that_a_text_spells_become_ids_where_they_are_asked_for():
    vocabulary = vocabulary_of("smollm2")
    start, end = (vocabulary.specials[text] for text in ("<|im_start|>", "<|im_end|>"))
    text = "<|im_start|>user\n é<|im_end|>"
    ids = vocabulary.encode(text, specials=True)
    assert ids == [start, *vocabulary.encode("user\n é"), end]
    assert ids == vocabulary.encode(text.encode(), specials=True)
    plain = vocabulary.encode(text)
    assert start not in plain and vocabulary.decode(plain) == text.encode()
    nested = Vocabulary.from_bytes(
        [b"x", b"", b""], encoder=lambda text: [0] * len(text), specials={"<a": 1, "<ab": 2}
    )
    assert nested.encode("x<abx<ax", specials=True) == [0, 2, 0, 1, 0]
    none = Vocabulary.from_bytes([b"x"], encoder=lambda text: [0] * len(text))
    assert none.encode("xx", specials=True) == [0, 0]


def test_a_charsmap_that_claims_more_than_there_is():
    """It is read while the tables are made, before they are checked."""
    data = json.loads(families.byte_level().to_str())
    data["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "/" * 12}
    with pytest.raises(VocabularyError, match="a charsmap that is cut off"):
        Vocabulary.from_json(json.dumps(data))


def test_unigram_without_a_token_for_the_unknown():
    model = {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0], ["b", -2.0]]}
    vocabulary = Vocabulary.from_json(json.dumps({"model": model}))
    assert vocabulary.encode_as_owner("ab") == [0, 1]
    with pytest.raises(VocabularyError, match="known characters"):
        vocabulary.encode_as_owner("ac")
