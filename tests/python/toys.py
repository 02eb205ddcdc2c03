"""Tiny real BPEs over the letters a, b, c and models that are tables by prefix."""

import functools
import hashlib

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from anydraft import Vocabulary, _core

EOS = "</s>"


def bpe(merges, *, eos=True, chars="abc"):
    """A byte-level BPE vocabulary with the given merges; EOS last."""
    tokens = [*chars, *("".join(pair) for pair in merges)]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if eos:
        tokenizer.add_special_tokens([EOS])
    return tokenizer


def vocabulary(merges, *, eos=True):
    """As `bpe`, without the check that it can spell every text."""
    tokenizer = bpe(merges, eos=eos)
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    special = {EOS: tokens.index(EOS)} if eos else {}
    return Vocabulary.from_bytes(
        [b"" if token in special else token.encode() for token in tokens],
        encoder=lambda text: tokenizer.encode(text).ids,
        specials=special,
        roles={"eos": list(special.values())},
    )


TARGET = vocabulary([("a", "b"), ("b", "c"), ("ab", "c")])
DRAFTER = vocabulary([("b", "a"), ("a", "b"), ("c", "c")])


class TableModel:
    """Random logits by prefix, the same in every process; rows memoised."""

    def __init__(self, vocabulary, seed, spread=1.5, padding=0):
        self.vocabulary = vocabulary
        self.calls = 0
        self.texts = {}

        @functools.cache
        def row(prefix):
            digest = hashlib.sha256(repr((seed, prefix)).encode()).digest()
            random = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
            logits = spread * random.standard_normal(vocabulary.size + padding)
            return logits.astype(np.float32)

        self.row = row

    def forget(self, request):
        self.texts.pop(request, None)

    def __call__(self, feeds):
        """A cache whose slots know the text they end: what a tree feed means, spelt out."""
        self.calls += 1
        rows = []
        for feed in feeds:
            slots = self.texts.get(feed.request, ())
            assert list(feed.keep) == sorted(set(feed.keep))
            assert max(feed.keep, default=-1) < len(slots), "kept more slots than were fed"
            slots = [slots[slot] for slot in feed.keep]
            kept = len(slots)
            for token, position, parent in zip(
                feed.tokens, feed.positions, feed.parents, strict=True
            ):
                assert -1 <= parent < len(slots) - kept, "a parent stands before its children"
                above = slots[kept + parent] if kept + parent >= 0 else ()
                assert position == len(above)
                slots.append((*above, token))
            self.texts[feed.request] = slots
            rows += [self.row(text) for text in slots[len(slots) - feed.rows :]]
        return np.stack(rows)


def constant(vocabulary, masses):
    """A model that says the same everywhere."""

    with np.errstate(divide="ignore"):
        row = np.log(np.array(masses, dtype=np.float32))

    def model(feeds):
        model.fed.extend(feeds)
        return np.tile(row, (sum(feed.rows for feed in feeds), 1))

    model.vocabulary = vocabulary
    model.fed = []
    model.texts = {}
    return model


def letters(*tokens, **named):
    """A vocabulary of single letters."""

    def encode(text):
        return [tokens.index(char.encode()) for char in text]

    return Vocabulary.from_bytes(tokens, encoder=encode, **named)


def engine(target, drafter, *, random_source=None, map=None, token_trie=None, **o):
    """The core's engine with options by name."""
    shape = _core.TreeShape(
        list(o.pop("widths", [])),
        max_nodes=o.pop("max_nodes", 0),
        depth=o.pop("depth", 0),
        beam=o.pop("beam", 0),
    )
    rule = {"tokens": o.pop("stop_tokens", 1), "rows": o.pop("draft_budget", 32)}
    options = _core.DrafterOptions(
        tree=shape, stop_rule=_core.StopRule(**rule), random_source=random_source, **o
    )
    return _core.Engine(target, drafter, options, map=map, token_trie=token_trie)
