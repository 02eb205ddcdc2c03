"""A small tokeniser of every family, trained here, as the file its owner would write."""

import base64
import io
import json

import sentencepiece
from texts import texts_of
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from anydraft.tiktoken_presets import RANK_KINDS

CORPUS = texts_of("families", 30_000)
SPECIALS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_level(pattern=None, normalizer=None, size=600):
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = plain
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, plain])
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def llama_style():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    fallbacks = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=[*SPECIALS[:3], *fallbacks],
        limit_alphabet=200,
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


def bert_style():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentencepiece_model(kind):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        model_type=kind,
        vocab_size=6000,
        byte_fallback=True,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def rank_file(tokenizer):
    """The same byte-level vocabulary as ranks, without its specials."""
    table = pre_tokenizers.ByteLevel.alphabet()
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(0x100 + i): byte for i, byte in enumerate(others)}
    assert set(table) == set(byte_of)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    spelled = [bytes(byte_of[c] for c in token) for token, _ in tokens if token not in SPECIALS]
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(spelled))
    return b"".join(lines)


def write_all(folder):
    """Each family's file in `folder`: {name: (path, kind)}."""
    level = byte_level(RANK_KINDS["cl100k"].pattern)
    files = {
        "gpt2.json": byte_level().to_str().encode(),
        "cl100k.json": level.to_str().encode(),
        "o200k.json": byte_level(RANK_KINDS["o200k"].pattern, normalizers.NFC()).to_str().encode(),
        "llama.json": llama_style().to_str().encode(),
        "bert.json": bert_style().to_str().encode(),
        "bpe.model": sentencepiece_model("bpe"),
        "unigram.model": sentencepiece_model("unigram"),
        "ranks.tiktoken": rank_file(level),
    }
    kinds = {"ranks.tiktoken": "cl100k"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: (folder / name, kinds.get(name)) for name in files}
