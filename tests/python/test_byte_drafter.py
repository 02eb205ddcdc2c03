"""A byte-level drafter, trained here, for a target with a real vocabulary; and when a target token
is settled whatever text follows."""

import functools
import random
from collections import Counter

import pytest
import torch
from real import NAMES, vocabulary_of
from texts import texts_of
from toys import engine

from anydraft import SamplingParams, Slrs, SpeculativeSession, Vocabulary, _core, probs, stateless
from anydraft.testing import chi_square

WINDOW, STEPS = 6, 200
BYTES = Vocabulary.from_bytes([bytes([i]) for i in range(256)], encoder=lambda t: [*t.encode()])


def training_text():
    import pydoc_data.topics

    topics = list(pydoc_data.topics.topics.values())[:40]
    return " ".join("".join(topics)[:20_000].split())


class ByteModel(torch.nn.Module):
    """The next byte from the last WINDOW ones."""

    def __init__(self):
        super().__init__()
        self.bytes = torch.nn.Embedding(257, 16)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16 * WINDOW, 128), torch.nn.ReLU(), torch.nn.Linear(128, 256)
        )

    def forward(self, ids):  # [batch, length] -> [batch, length, 256]
        padded = torch.nn.functional.pad(ids, (WINDOW - 1, 0), value=256)
        return self.layers(self.bytes(padded.unfold(1, WINDOW, 1)).flatten(2))


@functools.cache
def byte_model():
    torch.manual_seed(0)
    data = torch.tensor([*training_text().encode()])
    model = ByteModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        at = torch.randint(len(data) - WINDOW, (256, 1)) + torch.arange(WINDOW + 1)
        windows = data[at]
        logits = model(windows[:, :-1])[:, -1]
        loss = torch.nn.functional.cross_entropy(logits, windows[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 2.7  # 5.5 at random
    return model.eval()


class Bigrams:
    """A target with a real vocabulary: counts of pairs, singles and everything, mixed."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        ids = torch.tensor(vocabulary.encode(training_text()))
        single = torch.bincount(ids, minlength=vocabulary.size) / len(ids)
        self.base = 0.3 * single + 0.1 / vocabulary.size
        self.ids = ids
        self.row = functools.cache(self._row)

    def _row(self, token):
        behind = self.ids[1:][self.ids[:-1] == token]
        pairs = torch.bincount(behind, minlength=self.vocabulary.size) / max(len(behind), 1)
        return (self.base + 0.6 * pairs).log()

    def __call__(self, feeds):
        """A token's row depends on nothing else: no cache, and no tree of the target's to see."""
        rows = [self.row(token) for feed in feeds for token in feed.tokens[-feed.rows :]]
        return torch.stack(rows)


@functools.cache
def models():
    bigrams = Bigrams(vocabulary_of("gpt2"))
    model, rows = byte_model(), {}

    def last_row(ids):  # of one text at a time; the same texts come again and again
        key = tuple(ids[0, -WINDOW:].tolist())
        if key not in rows:
            rows[key] = model(torch.tensor([key]))[0, -1]
        return rows[key][None, None].expand(1, ids.shape[1], -1)

    return bigrams, stateless(last_row, BYTES)


def test_settled_target_tokens_are_accepted_more_often_than_bytes():
    """Of one drafted token, in the middle of the text that both have learnt."""
    target, drafter = models()
    random.seed(1)
    places = [random.randrange(20, len(target.ids)) for _ in range(60)]
    prompts = [target.ids[at - 15 : at].tolist() for at in places]
    accepted, stopped = {}, {}
    for rule in (1, 3, "settled"):
        session = SpeculativeSession(
            target,
            drafter,
            bridge=Slrs(rule),
            draft_length=1,
            sampling=SamplingParams(0.6, seed=1),
        )
        stats = [run.stats for run in session.generate(prompts * 2, max_tokens=2)]
        accepted[rule] = sum(one.accepted for one in stats)
        stopped[rule] = sum(one.stopped for one in stats) / len(stats)
    assert accepted[1] < accepted[3] < accepted["settled"]
    assert stopped[1] == 1 > stopped[3] > stopped["settled"] > 0.3  # the budget ended the others


PROMPT = "the value of the"
SAMPLING = SamplingParams(temperature=0.9, top_k=6, seed=3)


def emitted(runs, tokens, **options):
    """Counts of the first tokens, of requests with uniforms of their own."""
    target, drafter = models()
    counts, tables = Counter(), (target.vocabulary.table, BYTES.table)
    map_ = _core.VocabularyMapTable(*reversed(tables))
    token_trie = _core.DraftTokenTrie(*reversed(tables), map_)
    prompt = target.vocabulary.encode(PROMPT)
    for stream in range(runs):
        core = engine(
            *tables, bridge="slrs", draft_length=2, map=map_, token_trie=token_trie, **options
        )
        job = core.add(prompt, sampling=SAMPLING, max_tokens=tokens, random_stream=stream)
        while (work := core.next()).model != "idle":
            core.feed(work, (target if work.model == "target" else drafter)(work.feeds))
        core.check(job)
        counts[tuple(token for token, *_ in core.emitted(job))] += 1
        drafter.forget(job + 1)
    return target, counts


def test_sampled_distribution_of_the_first_tokens():
    tokens, runs = 3, 400
    target, counts = emitted(runs, tokens, stop_tokens=0, draft_budget=16)

    @functools.cache
    def distribution(token):
        row = probs(target.row(token)[None], SAMPLING)[0]
        return {int(i): float(row[i]) for i in row.nonzero()[:, 0]}

    exact = {(): (1.0, target.vocabulary.encode(PROMPT)[-1])}
    for _ in range(tokens):
        exact = {
            (*text, token): (mass * p, token)
            for text, (mass, last) in exact.items()
            for token, p in distribution(last).items()
        }
    assert counts.keys() <= exact.keys()
    masses = torch.tensor([mass for mass, _ in exact.values()])
    seen = torch.tensor([counts[text] for text in exact])
    assert chi_square(seen, masses, 15).p_value > 1e-4


ASIDE = ["'ll", "'s x", " ", "  x", "\n", "\n\n y", "a", "ing", "1", "123", "!", ")", "é", "́", "日"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_settled_first_token_stays_whatever_follows(name):
    vocabulary = vocabulary_of(name)
    if not vocabulary.exact:
        pytest.skip("no bridge's target: it cannot spell every text")
    random.seed(name)
    settled = 0
    for text in texts_of("settled", 12_000):
        data = text.encode("utf-8", "ignore")
        for _ in range(12):
            begin = random.randrange(len(data))
            begun = data[begin : begin + random.randint(1, 12)]
            if not _core.testing.first_token_settled(vocabulary.table, begun):
                continue
            settled += 1
            first = vocabulary.encode(begun)[0]
            rest = data[begin + len(begun) :][:20]
            for more in (rest, *(aside.encode() for aside in random.sample(ASIDE, 5))):
                assert vocabulary.encode(begun + more)[0] == first, (begun, more)
    assert settled > 50


@pytest.mark.parametrize("name", ["gpt2", "llama3", "gpt4o", "qwen3", "tekken", "deepseek_v3"])
def test_a_word_is_settled_by_the_space_behind_it(name):
    settled = functools.partial(_core.testing.first_token_settled, vocabulary_of(name).table)
    assert settled(b" hello ") and settled(b" hello,") and settled(b"hello world ")
    assert not any(map(settled, (b" hello", b" hello'", b" hello1"[:6], b"(", b"\n", b" ")))
