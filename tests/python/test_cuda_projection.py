"""Drafters of another vocabulary on the CUDA engine: rows read through a map."""

import re

import pytest
import torch
from cuda_batches import Batch, OnDevice, on_device

from anydraft import InputError, Proposal, SamplingParams, Vocabulary, _core, sample
from anydraft.cuda import Projection, Sampler, Uniforms, Verification, distribution_params


def numbers(tokens):
    """A vocabulary of tokens such as <7> and <7><12>."""
    ids = {token: i for i, token in reversed(list(enumerate(tokens)))}
    return Vocabulary.from_bytes(
        [token.encode() for token in tokens],
        encoder=lambda text: [ids[token] for token in re.findall(r"<\d+>", text)],
    )


class Pair:
    """A drafter that has a third of its target's tokens, some twice, and pairs of them."""

    def __init__(self, size, more=0):
        """more: ids of the drafter below all of these, by more copies of its first token."""
        own = [f"<{i}>" for i in range(0, size, 3)]
        pairs = [f"<{i}><{i % 7}>" for i in range(size // 2)]
        self.target = numbers([f"<{i}>" for i in range(size)])
        self.drafter = numbers([*own[:1] * more, *own[::-1], *own[:50], *pairs])
        self.vocab, self.draft_vocab = size + 5, self.drafter.size + 3
        self.map = _core.VocabularyMapTable(self.drafter.table, self.target.table)

    def projection(self, device, spelled=False):
        return Projection(
            self.drafter,
            self.target,
            target_vocab=self.vocab,
            draft_vocab=self.draft_vocab,
            device=device,
            spelled=spelled,
        )

    def rows(self, logits, params, spelled):
        if not spelled:
            return torch.tensor(_core.projected_rows(logits, self.map, self.vocab, params))
        token_trie = _core.DraftTokenTrie(self.drafter.table, self.target.table, self.map)
        return torch.tensor(_core.psi_rows(logits, token_trie, self.vocab, params))


def test_projected_rows_are_what_the_bridges_draw_from():
    pair = Pair(60)
    logits = torch.randn(2, pair.draft_vocab, generator=torch.Generator().manual_seed(1))
    masses = logits[:, : pair.drafter.size].double().exp()
    tli, slrs = torch.zeros(2, 2, pair.vocab, dtype=torch.float64)
    for token, mass in enumerate(masses.T):
        text = pair.drafter.token_bytes(token).decode()
        first = int(re.match(r"<(\d+)>", text)[1])
        slrs[:, first] += mass
        if text == f"<{first}>":
            tli[:, first] += mass
    for wanted, spelled in ((tli, False), (slrs, True)):
        rows = pair.rows(logits, SamplingParams(), spelled).double().exp()
        assert (rows / rows.sum(-1, keepdim=True)).numpy() == pytest.approx(
            (wanted / wanted.sum(-1, keepdim=True)).numpy(), abs=1e-6
        )


@on_device
@pytest.mark.parametrize("spelled", [False, True], ids=["tli", "slrs"])
@pytest.mark.parametrize("size", [300, 40000])
def test_a_drafter_of_another_vocabulary(spelled, size):
    """Drafts drawn from a drafter's rows and verified through the map, both on the device."""
    pair = Pair(size)
    for params in (SamplingParams(temperature=0.8, seed=3), SamplingParams(top_k=40, top_p=0.9)):
        of_draft = SamplingParams(temperature=params.temperature) if spelled else params
        batch = Batch("top_down", pair.vocab, 8, torch.float32, size)
        nodes = len(batch.proposals)
        generator = torch.Generator().manual_seed(size)
        logits = 2 * torch.randn(nodes, pair.draft_vocab, generator=generator)
        batch.draft = pair.rows(logits, params, spelled)
        noise = torch.randn(nodes, pair.vocab, generator=generator)
        batch.target = batch.draft.clamp(min=-9) + 0.4 * noise
        device = {"projection": pair.projection("cuda", spelled)}
        if spelled:
            every = distribution_params([params] * nodes, "cuda")
            own = Sampler(logits.cuda(), every, Uniforms(seed=1))
            own()
            device["weighed"] = own.distributions
        distributions = distribution_params([of_draft] * nodes, "cuda")
        drawn = Sampler(logits.cuda(), distributions, Uniforms(seed=9), purpose=5, **device)
        drawn()
        wanted = sample(
            batch.draft,
            SamplingParams(
                temperature=of_draft.temperature, top_k=of_draft.top_k, top_p=of_draft.top_p, seed=9
            ),
            [(i, 0) for i in range(nodes)],
        )
        assert drawn.tokens.tolist() == wanted.tolist()
        parents, starts = batch.trees.parents, batch.trees.offsets
        for i, begin in enumerate(starts[:-1]):
            for node in range(begin + 1, starts[i + 1]):
                batch.trees.tokens[node] = int(wanted[begin + parents[node]])
        batch.proposals = [Proposal("iid", i) for i in range(nodes)]
        cpu = batch.verify("cpu", params, draft_sampling=of_draft)
        batch.draft = logits
        for known in (None, drawn.distributions):
            call = OnDevice(batch, params, of_draft, draft_distributions=known, **device)
            call.call()
            call.expect(cpu)


@on_device
@pytest.mark.parametrize("more", [0, 12], ids=["smaller", "larger than the target's"])
def test_drafter_tokens_are_spelt_to_their_end(more):
    """Target tokens drawn one after another from the same rows until the drafter's token ends: they
    spell it, and whole drafter tokens have the drafter's own distribution."""
    pair, rows = Pair(9, more), 4000
    logits = torch.randn(1, pair.draft_vocab, generator=torch.Generator().manual_seed(2))
    distribution = logits[0, : pair.drafter.size].double().softmax(-1)
    logits = logits.cuda().expand(rows, -1).contiguous()
    every = distribution_params([SamplingParams()] * rows, "cuda")
    own = Sampler(logits, every, Uniforms(seed=1))
    own()
    spelt, ended, places = [b""] * rows, [-1] * rows, None
    for step in range(3):
        drawn = Sampler(
            logits,
            every,
            Uniforms(seed=20 + step),
            projection=pair.projection("cuda", spelled=True),
            weighed=own.distributions,
            places=places,
        )
        drawn()
        places = drawn.places
        fed = drawn.drafter_ids.tolist()
        for row, token in enumerate(drawn.tokens.tolist()):
            if ended[row] < 0:
                spelt[row] += pair.target.token_bytes(token)
                ended[row] = fed[row]
    for text, token in zip(spelt, ended, strict=True):
        assert pair.drafter.token_bytes(token) == text
    words = {}  # drafter tokens of equal bytes are one: the likeliest is fed
    for token, mass in enumerate(distribution.tolist()):
        text = pair.drafter.token_bytes(token)
        words[text] = words.get(text, 0.0) + mass
    wrong = sum(
        (spelt.count(text) - rows * mass) ** 2 / (rows * mass) for text, mass in words.items()
    )
    assert wrong < len(words) + 5 * (2 * len(words)) ** 0.5


def test_arguments_are_checked_without_a_device():
    ints = torch.zeros(3, dtype=torch.int32)
    offsets, rows = torch.tensor([0, 1, 3], dtype=torch.int32), torch.zeros(3, 8)
    distributions = {
        "kinds": ints,
        "rows": ints,
        "sampling": distribution_params([SamplingParams()] * 2, "cpu"),
    }
    pair = Pair(9)
    with pytest.raises(InputError, match="rows of 13 drafter and 14 target tokens"):
        Verification(ints, ints, offsets, rows, projection=pair.projection("cpu"), **distributions)
    with pytest.raises(InputError, match="places"):
        Verification(ints, ints, offsets, rows, places=torch.zeros(3, 3), **distributions)
    for given in ({"accept": rows[0]}, {"requests": ints}, {"pick": ints[:2]}):
        with pytest.raises(InputError, match=r"expected \w+ \[\d\], got"):
            Verification(ints, ints, offsets, rows, uniforms=Uniforms(**given), **distributions)
    with pytest.raises(InputError, match=r"paths \[3\], got \[2\]"):
        Verification(ints, ints, offsets, rows, paths=ints[:2], **distributions)
    with pytest.raises(InputError, match=r"nodes \[3\], got \[2\]"):
        every = distribution_params([SamplingParams()] * 3, "cpu")
        Sampler(rows, every, Uniforms(), nodes=ints[:2])
