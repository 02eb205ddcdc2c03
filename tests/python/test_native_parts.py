"""Normalisers, pre-tokenisers, models, added tokens and decoders, one by one, against `tokenizers`.

The owners of real vocabularies are compared in test_conformance.py.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from anydraft import Vocabulary
from anydraft._core import Retokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog, don't you see? It's 12345 and HTTPServer_v2.",
    "def main(args):\n    return [x for x in args if x > 1234]\n\n\n\tpass  # ok\r\n",
    "naïve café 日本語、テスト。 привет мир हिन्दी שלום ﬁ e\u0301 ½ Ⅷ 🎉👩\u200d🚀 ǅ İı ß",
] * 3
ALPHABET = (
    "aAbB zZ  \t\n\r09'sStT.,!?/_-<>▁\u00a0\u3000\u2028\u0085\x00\x1f\ufeff"
    "éÉßẞİıſKǅʰªº½²٣Ⅷ\u0301\u0327\u0345\u0903\u200dﬁ가각\u1100\u1161\u11a8日語アｱ、・。🎉🇩𝔸Ω😀ёйभ"
)
TEXTS = st.text(ALPHABET, max_size=40) | st.text(max_size=20)
SPECIALS = ["<unk>", "</s>"]
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def trained(model, trainer, *, pre_tokenizer=None, normalizer=None, decoder=None):
    tokenizer = Tokenizer(model)
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def bpe(**parts):
    return trained(
        models.BPE(unk_token="<unk>", fuse_unk=True),
        trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False),
        **parts,
    )


def byte_level(normalizer=None, *before, use_regex=True, **options):
    level = pre_tokenizers.ByteLevel(use_regex=use_regex, **options)
    return trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=SPECIALS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
        pre_tokenizer=pre_tokenizers.Sequence([*before, level]) if before else level,
        normalizer=normalizer,
        decoder=decoders.ByteLevel(),
    )


def llama_style():
    owner = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True),
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=[*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))],
            limit_alphabet=60,
            show_progress=False,
        ),
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        decoder=decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        ),
    )
    return without_added(owner)


def unigram(metaspace, *, byte_fallback=False):
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    owner = trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=300,
            special_tokens=[
                *SPECIALS,
                *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback),
            ],
            unk_token="<unk>",
            show_progress=False,
        ),
        pre_tokenizer=metaspace,
        normalizer=None if metaspace else normalizers.Replace(" ", "▁"),
        decoder=decoders.Metaspace() if metaspace else decoders.Sequence(steps),
    )
    return without_added(owner, byte_fallback=byte_fallback) if byte_fallback else owner


def without_added(owner, **model):
    """As real files have it: the trainer knows only specials, byte tokens are ordinary entries."""
    data = json.loads(owner.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] in SPECIALS]
    data["model"] |= model
    return Tokenizer.from_str(json.dumps(data))


def word_piece(**options):
    owner = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=12))
    owner.normalizer = normalizers.BertNormalizer(**options)
    owner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    owner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=250, special_tokens=SPECIALS, show_progress=False
    )
    owner.train_from_iterator(CORPUS, trainer)
    return owner


def merge_ranks():
    data = json.loads(byte_level(None, add_prefix_space=False).to_str())
    data["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(data))


N, P = normalizers, pre_tokenizers
OWNERS = {
    "gpt2": byte_level(add_prefix_space=True),
    "cl100k": byte_level(
        N.NFC(), P.Split(Regex(CL100K), "isolated"), use_regex=False, add_prefix_space=False
    ),
    "cl100k, matches kept": byte_level(
        None, P.Split(Regex(CL100K), "removed", True), use_regex=False, add_prefix_space=False
    ),
    "digits each": byte_level(N.NFKC(), P.Digits(individual_digits=True), add_prefix_space=False),
    "digits": byte_level(N.NFKD(), P.Digits(), add_prefix_space=False),
    "punctuation": byte_level(N.NFD(), P.Punctuation(), add_prefix_space=False),
    "whole pieces": merge_ranks(),
    "llama": llama_style(),
    "characters": bpe(pre_tokenizer=P.Whitespace(), normalizer=N.Lowercase()),
    "white space": bpe(
        pre_tokenizer=P.WhitespaceSplit(),
        normalizer=N.Sequence([N.Strip(), N.NFD(), N.StripAccents(), N.Replace("a", "bb")]),
    ),
    "strip left": bpe(normalizer=N.Strip(left=True, right=False)),
    "unigram always": unigram(P.Metaspace(prepend_scheme="always")),
    "unigram first": unigram(P.Metaspace(prepend_scheme="first")),
    "unigram never": unigram(P.Metaspace(prepend_scheme="never", split=False)),
    "unigram bytes": unigram(None, byte_fallback=True),
    "bert": word_piece(),
    "bert cased": word_piece(lowercase=False, strip_accents=False, handle_chinese_chars=False),
    "bert accents": word_piece(clean_text=False, lowercase=False, strip_accents=True),
}
OURS = {name: Vocabulary.from_json(owner.to_str()) for name, owner in OWNERS.items()}
EVERY = pytest.mark.parametrize("name", OWNERS)


@EVERY
def test_ids_and_texts_are_the_owners(name):
    owner, ours = OWNERS[name], OURS[name]

    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS)
    def check(text):
        ids = owner.encode(text, add_special_tokens=False).ids
        assert ours.encode_as_owner(text) == ids
        assert ours.decode_as_owner(ids) == owner.decode(ids, skip_special_tokens=False)
        assert ours.decode_as_owner(ids, skip_specials=True) == owner.decode(ids)

    check()
    for text in [*CORPUS, "a</s>b <unk>", "x" * 500, " " * 300, "日" * 300, "ab" * 400]:
        check.hypothesis.inner_test(text)


def test_added_tokens_by_their_flags():
    owner = byte_level(N.Lowercase(), add_prefix_space=False)
    owner.add_special_tokens([AddedToken("[L]", lstrip=True), AddedToken("[R]", rstrip=True)])
    owner.add_tokens(
        [
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("Wörd", normalized=True),
            AddedToken("[LR", lstrip=True, rstrip=True, normalized=False),
            AddedToken("[LR]]", normalized=False),
        ]
    )
    ours = Vocabulary.from_json(owner.to_str())
    parts = [
        "word",
        "Wörd",
        "wörd",
        "WÖRD",
        "[L]",
        "[R]",
        "[LR",
        "]",
        "]]",
        " ",
        "\n",
        "x",
        "é",
        "_",
    ]

    @settings(max_examples=500, deadline=None)
    @given(text=st.lists(st.sampled_from(parts), max_size=10).map("".join))
    def check(text):
        for specials in (True, False):
            owner.encode_special_tokens = not specials
            ids = owner.encode(text, add_special_tokens=False).ids
            assert ours.encode_as_owner(text, specials=specials) == ids
        assert ours.decode(ours.encode(text)) == text.encode()

    check()


def pieces_of(owner):
    """The same Unigram model as SentencePiece would have it: sums in float along a whole text."""
    data = json.loads(owner.to_str())
    kind = {text: 6 for text, _ in data["model"]["vocab"] if text.startswith("<0x")}
    kind |= {"<unk>": 2, "</s>": 3}
    pieces = [[text, score, kind.get(text, 1)] for text, score in data["model"]["vocab"]]
    return Vocabulary.from_description(
        {
            "owner": "sentencepiece",
            "model": {"type": "Unigram", "pieces": pieces, "byte_fallback": True},
            "normalizer": {"type": "SentencePiece", "add_dummy_prefix": False},
        }
    )


FED = {name: ours for name, ours in OURS.items() if ours.exact} | {
    "sentencepiece unigram": pieces_of(OWNERS["unigram bytes"])
}


@pytest.mark.parametrize("name", FED)
def test_fed_in_any_pieces_the_tokens_are_those_of_the_whole(name):
    ours = FED[name]

    @settings(max_examples=250, deadline=None)
    @given(
        text=st.lists(TEXTS | st.sampled_from(CORPUS), min_size=1, max_size=4).map("".join),
        stray=st.binary(max_size=3),
        data=st.data(),
    )
    def check(text, stray, data):
        raw = text.encode("utf-8", "ignore") + stray + text.encode("utf-8", "ignore")
        cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12).map(sorted))
        fed, final = Retokenizer(ours.table), []
        for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            fed.feed(raw[begin:end])
            assert fed.ids == ours.encode(raw[:end])
            assert fed.ids[: len(final)] == final
            final = fed.ids[: fed.stable]
        assert ours.decode(fed.ids) == raw
        sizes = [len(ours.token_bytes(token)) for token in fed.ids]
        assert fed.ends == [sum(sizes[: i + 1]) for i in range(len(sizes))]

    check()


@pytest.mark.parametrize("name", FED)
def test_only_a_tail_is_encoded_again(name):
    ours = FED[name]
    fed, open_tokens = Retokenizer(ours.table), []
    text = " ".join(CORPUS * 3).encode()
    for at in range(0, len(text), 7):
        fed.feed(text[at : at + 7])
        open_tokens.append(len(fed.ids) - fed.stable)
    assert max(open_tokens) < 60 < len(fed.ids) / 3


def test_specials_close_the_text_before_them():
    ours = OURS["cl100k"]
    fed = Retokenizer(ours.table)
    fed.feed(b"hello ")
    fed.feed_special(ours.specials["</s>"])
    assert fed.stable == len(fed.ids)
    fed.feed(b" world")
    assert fed.ids == [*ours.encode("hello "), ours.specials["</s>"], *ours.encode(" world")]
    assert fed.ends[-1] == len("hello ") + 1 + len(" world")
