"""The CUDA engine against the CPU engine: the same tokens from the same logits and coins."""

import re

import numpy as np
import pytest
import torch

from anydraft import (
    CudaUnavailableError,
    InputError,
    Law,
    NonFiniteLogitsError,
    SamplingParams,
    Trees,
    Vocabulary,
    _core,
    probs,
    sample,
    verifiers,
    verify,
)
from anydraft.cuda import STATUS, Coins, Projection, Sampler, Verification, law_params

ABSENT = None
if not _core.cuda_built():
    ABSENT = "this build has no CUDA (ANYDRAFT_CUDA=ON, `make gpu`)"
elif not torch.cuda.is_available():
    ABSENT = "no CUDA device"


def on_device(test):
    return pytest.mark.cuda(pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))(test))


KINDS = ["one_hot", "row", "without_replacement", "hub", "greedy_k", "sparse"]
LAWS = {info["name"]: info["laws"].split(", ") for info in verifiers()}
FILTERED = SamplingParams(temperature=0.8, top_k=50, top_p=0.95, min_p=1e-4)


class Batch:
    """Ragged trees (chains for block) with laws that the verifier takes, on the CPU."""

    def __init__(self, verifier, vocab, requests, dtype, seed, stride=0):
        random = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        tokens, parents, paths, self.laws, offsets = [], [], [], [], [0]
        for _ in range(requests):
            for node in range(int(random.integers(1, 7))):
                chain = verifier == "block" or random.random() < 0.4
                back = 1 if chain else int(random.integers(1, 4))
                parents.append(-1 if node == 0 else max(node - back, 0))
                tokens.append(int(random.integers(0, min(vocab, 5))))
                paths.append(int(random.integers(1, 4)))
                self.laws.append(self.law(str(random.choice(LAWS[verifier])), len(self.laws)))
            offsets.append(len(tokens))
        nodes = len(tokens)
        rows = torch.randn(2, nodes, vocab + stride, generator=generator)
        rows[0] *= 2
        rows[0, :, :5] += 2 * np.log(max(vocab, 2))  # drafts that are often accepted
        rows[1] += rows[0]
        self.rows, self.vocab = rows.to(dtype), vocab
        self.target, self.draft = self.rows[..., :vocab]  # strided where stride > 0
        self.trees = Trees(tokens, parents, offsets, paths)
        self.verifier = verifier

    @staticmethod
    def law(kind, row):
        if kind == "sparse":
            return Law("sparse", ids=[0, 1, 2, 3, 4], masses=[1.0, 2.0, 1.0, 0.5, 0.1])
        return Law("one_hot") if kind == "one_hot" else Law(kind, row)

    def verify(self, device, params, **options):
        if device == "cpu":
            target, draft = self.target, self.draft
        else:  # a copy of a slice would be contiguous
            target, draft = self.rows.to(device)[..., : self.vocab]
        return verify(
            self.trees,
            target,
            laws=self.laws,
            draft_logits=draft,
            sampling=params,
            verifier=self.verifier,
            on_error="status",
            **options,
        )


def same(cpu, gpu):
    """Equal but for the wording of errors."""
    assert (gpu.accepted, gpu.offsets, gpu.next_token) == (
        cpu.accepted,
        cpu.offsets,
        cpu.next_token,
    )
    assert [bool(s) for s in gpu.status] == [bool(s) for s in cpu.status]


@on_device
@pytest.mark.parametrize("verifier", sorted(LAWS))
@pytest.mark.parametrize("vocab", [7, 1000, 32000, 128256, 151936, 262144])
def test_same_tokens_as_the_cpu(verifier, vocab):
    if vocab < 10:
        cases = [(256, torch.float32, 0), (1, torch.float16, 1)]
    elif vocab < 50000:
        cases = [(16, torch.bfloat16, 3), (3, torch.float32, 0), (1, torch.float16, 0)]
    else:
        cases = [(1, torch.float32, 0), (4, torch.bfloat16, 0), (2, torch.bfloat16, 5)]
    for requests, dtype, stride in cases:
        batch = Batch(verifier, vocab, requests, dtype, vocab + requests, stride)
        for params in (
            SamplingParams(temperature=0.7, seed=3),
            SamplingParams(temperature=0.0),
            FILTERED,
            [SamplingParams(temperature=0.5 + 0.1 * (i % 7), top_k=i % 5) for i in range(requests)],
        ):
            same(batch.verify("cpu", params), batch.verify("cuda", params))


@on_device
@pytest.mark.parametrize("verifier", sorted(set(LAWS) - {"multipath"}))
def test_acceptance_of_nodes(verifier):
    batch = Batch(verifier, 5000, 6, torch.bfloat16, 8)
    cpu, gpu = (batch.verify(device, FILTERED, acceptance=True) for device in ("cpu", "cuda"))
    same(cpu, gpu)
    fine = [
        node
        for i, begin in enumerate(batch.trees.offsets[:-1])
        for node in range(begin, batch.trees.offsets[i + 1])
        if not cpu.status[i]
    ]
    assert [gpu.acceptance[node] for node in fine] == [cpu.acceptance[node] for node in fine]
    device = OnDevice(batch, FILTERED, acceptance=True)
    device.call()
    told = device.call.acceptance.tolist()
    assert [told[node] for node in fine] == [cpu.acceptance[node] for node in fine]


@on_device
@pytest.mark.parametrize("requests", [1, 2, 33, 64, 256])
def test_batches(requests):
    batch = Batch("top_down", 5000, requests, torch.bfloat16, requests)
    same(batch.verify("cpu", FILTERED), batch.verify("cuda", FILTERED))


class OnDevice:
    """A batch's inputs as device tensors, for Verification."""

    def __init__(self, batch, params, draft_params=None, **options):
        def ints(values):
            return torch.tensor(values, dtype=torch.int32, device="cuda")

        requests = len(batch.trees.offsets) - 1
        self.call = Verification(
            ints(batch.trees.tokens),
            ints(batch.trees.parents),
            ints(batch.trees.offsets),
            batch.target.cuda(),
            kinds=ints([KINDS.index(law.kind) for law in batch.laws]),
            rows=ints([-1 if law.row is None else law.row for law in batch.laws]),
            sampling=law_params([params] * requests, "cuda"),
            draft_sampling=law_params([draft_params or params] * requests, "cuda"),
            draft_logits=batch.draft.cuda(),
            verifier=batch.verifier,
            paths=ints(batch.trees.paths),
            coins=Coins(seed=params.seed or 0),
            **options,
        )
        self.offsets = batch.trees.offsets

    def expect(self, cpu):
        torch.cuda.synchronize()
        for i, begin in enumerate(self.offsets[:-1]):
            kept = self.call.accepted[begin : self.offsets[i + 1]].tolist()
            count = int(self.call.counts[i])
            assert kept[:count] == cpu.path(i)
            assert kept[count:] == [-1] * (len(kept) - count)
            assert int(self.call.next_token[i]) == cpu.next_token[i]
            assert (STATUS[int(self.call.status[i])] == "fine") == (not cpu.status[i])


@on_device
@pytest.mark.parametrize("verifier", sorted(LAWS))
@pytest.mark.parametrize("splits", [1, 4], ids=["one_block", "cluster"])
def test_small_case(verifier, splits):
    """Ragged trees and the largest filters on few tokens: what `make gpu` runs under sanitizers."""
    if splits > 1 and torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("clusters need compute capability 9.0")
    for vocab, lazy in ((1, False), (300, True), (4099, False)):
        batch = Batch(verifier, vocab, 3, torch.bfloat16, vocab, 1)
        device = OnDevice(batch, FILTERED, splits=splits, lazy=lazy)
        device.call()
        device.expect(batch.verify("cpu", FILTERED))


@on_device
@pytest.mark.parametrize("splits", [1, 2, 4, 8])
@pytest.mark.parametrize("lazy", [False, True])
def test_any_split_of_the_vocabulary(splits, lazy):
    if splits > 1 and torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("clusters need compute capability 9.0")
    for vocab in (1000, 128256):
        for params in (SamplingParams(temperature=0.8, seed=5), FILTERED):
            batch = Batch("top_down", vocab, 3, torch.bfloat16, vocab)
            batch.laws = [Law("row", i) for i in range(len(batch.laws))]
            device = OnDevice(batch, params, splits=splits, lazy=lazy)
            device.call()
            device.expect(batch.verify("cpu", params))


@on_device
def test_a_graph_replays_new_rows():
    params = SamplingParams(temperature=0.9, seed=2)
    first, second = (Batch("multipath", 3000, 5, torch.float32, seed) for seed in (1, 1))
    second.target, second.draft = second.target.flip(0), second.draft.flip(0)
    device = OnDevice(first, params)
    device.call()  # loads the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        device.call()
    graph.replay()
    device.expect(first.verify("cpu", params))
    target, draft = device.call._kept[2:4]
    target.copy_(second.target)
    draft.copy_(second.draft)
    for _ in range(2):
        graph.replay()
    device.expect(second.verify("cpu", params))


@on_device
def test_room_is_small():
    batch = Batch("top_down", 262144, 4, torch.bfloat16, 1)
    assert OnDevice(batch, SamplingParams()).call.room <= 64 * 1024 * 4


@on_device
@pytest.mark.parametrize("vocab", [7, 1000, 128256, 262144])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_as_the_cpu(vocab, dtype):
    for rows in (1, 3, 70):
        logits = 3 * torch.randn(rows, vocab + 1, generator=torch.Generator().manual_seed(rows))
        logits = logits.to(dtype)[:, :vocab]
        for params in (SamplingParams(seed=1), SamplingParams(temperature=0), FILTERED):
            keys = [(i, 7) for i in range(rows)]
            assert (
                sample(logits.cuda(), params, keys).tolist()
                == sample(logits, params, keys).tolist()
            )


@on_device
def test_the_laws_of_drawn_drafts_spare_reading_their_rows():
    params = SamplingParams(temperature=0.8, top_p=0.9)
    batch = Batch("top_down", 9000, 6, torch.bfloat16, 4)
    nodes = len(batch.laws)
    sampler = Sampler(batch.draft.cuda(), law_params([params] * nodes, "cuda"), Coins(seed=3))
    sampler()
    batch.laws = [Law("row", i) for i in range(nodes)]
    device = OnDevice(batch, params, draft_laws=sampler.laws)
    device.call()
    device.expect(batch.verify("cpu", params))


def numbers(tokens):
    """A vocabulary of tokens such as <7> and <7><12>."""
    ids = {token: i for i, token in reversed(list(enumerate(tokens)))}
    return Vocabulary.from_bytes(
        [token.encode() for token in tokens],
        encoder=lambda text: [ids[token] for token in re.findall(r"<\d+>", text)],
    )


class Pair:
    """A drafter that has a third of its target's tokens, some twice, and pairs of them."""

    def __init__(self, size):
        own = [f"<{i}>" for i in range(0, size, 3)]
        pairs = [f"<{i}><{i % 7}>" for i in range(size // 2)]
        self.target = numbers([f"<{i}>" for i in range(size)])
        self.drafter = numbers([*own[::-1], *own[:50], *pairs])
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
        spellings = _core.Spellings(self.drafter.table, self.target.table, self.map)
        return torch.tensor(_core.psi_rows(logits, spellings, self.vocab, params))


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
        nodes = len(batch.laws)
        generator = torch.Generator().manual_seed(size)
        logits = 2 * torch.randn(nodes, pair.draft_vocab, generator=generator)
        batch.draft = pair.rows(logits, params, spelled)
        noise = torch.randn(nodes, pair.vocab, generator=generator)
        batch.target = batch.draft.clamp(min=-9) + 0.4 * noise
        device = {"projection": pair.projection("cuda", spelled)}
        if spelled:
            every = law_params([params] * nodes, "cuda")
            own = Sampler(logits.cuda(), every, Coins(seed=1))
            own()
            device["weighed"] = own.laws
        laws = law_params([of_draft] * nodes, "cuda")
        drawn = Sampler(logits.cuda(), laws, Coins(seed=9), purpose=5, **device)
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
        batch.laws = [Law("row", i) for i in range(nodes)]
        cpu = batch.verify("cpu", params, draft_sampling=of_draft)
        batch.draft = logits
        for known in (None, drawn.laws):
            call = OnDevice(batch, params, of_draft, draft_laws=known, **device)
            call.call()
            call.expect(cpu)


@on_device
def test_exact_law_on_a_grid_of_coins():
    """Two siblings drawn from a row, all coins of a grid: the emitted first token has the target's
    law within the grid's step."""
    target = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    draft = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    vocab, steps = 4, 24
    grid = (np.arange(steps) + 0.5) / steps
    drafted = probs(draft, SamplingParams())[0].double().numpy()
    total = np.zeros(vocab)
    accept, pick = (c.ravel() for c in np.meshgrid(grid, grid, indexing="ij"))
    count = len(accept)
    for token in range(vocab):
        trees = Trees.chains([[0, token]] * count)
        kept = verify(
            trees,
            target.repeat(2 * count, 1).cuda(),
            laws=[Law("row", 0)] * (2 * count),
            draft_logits=draft.cuda(),
            sampling=SamplingParams(),
            coins=(np.repeat(accept, 2).tolist(), np.repeat(pick, 2).tolist()),
        )
        first = [token if kept.path(i) else kept.next_token[i] for i in range(count)]
        total += drafted[token] * np.bincount(first, minlength=vocab) / count
    assert np.abs(total - target.exp()[0].numpy()).max() < 2 / steps


@on_device
@pytest.mark.parametrize("vocab", [32000, 151936])
def test_chi_square_at_real_vocabularies(vocab):
    """First tokens of chains drawn from a row and verified, against the target's law."""
    requests, rounds = 512, 8
    generator = torch.Generator().manual_seed(vocab)
    target = 2 * torch.randn(1, vocab, generator=generator)
    target[0, :20] += np.log(vocab)
    draft = target + torch.randn(1, vocab, generator=generator)
    law = probs(target, SamplingParams())[0].double().numpy()
    counts = np.zeros(vocab)
    rows, drafts = target.cuda().expand(2 * requests, -1), draft.cuda()
    for round_ in range(rounds):
        keys = [(i, round_) for i in range(requests)]
        drawn = sample(drafts.expand(requests, -1), SamplingParams(seed=77), keys).tolist()
        kept = verify(
            Trees.chains([[0, token] for token in drawn]),
            rows,
            laws=[Law("row", 0)] * (2 * requests),
            draft_logits=drafts,
            sampling=SamplingParams(seed=5),
            positions=[round_] * requests,
        )
        for i, token in enumerate(drawn):
            counts[token if kept.path(i) else kept.next_token[i]] += 1
    total = requests * rounds
    common = np.argsort(-law)[:15]
    seen = np.append(counts[common], total - counts[common].sum())
    wanted = np.append(law[common], 1 - law[common].sum()) * total
    # 15 degrees of freedom: exceeded once in 10,000 runs.
    assert ((seen - wanted) ** 2 / wanted).sum() < 44.3


@on_device
class TestFailures:
    def test_a_bad_row_fails_its_request_alone(self):
        batch = Batch("traversal", 1000, 4, torch.float32, 1)
        batch.target[batch.trees.offsets[2], 3] = torch.nan
        kept = batch.verify("cuda", SamplingParams())
        assert "target row" in kept.status[2]
        assert kept.next_token[2] == -1
        same(batch.verify("cpu", SamplingParams()), kept)

    def test_a_bad_row_is_named(self):
        trees = Trees.chains([[0, 1], [0, 1]])
        rows = torch.zeros(4, 10)
        rows[2, 3] = torch.inf
        with pytest.raises(NonFiniteLogitsError, match="target row 2"):
            verify(trees, rows.cuda(), laws=[Law("one_hot")] * 4, sampling=SamplingParams())
        with pytest.raises(NonFiniteLogitsError, match="row 2"):
            sample(rows.cuda(), SamplingParams(), [(i, 0) for i in range(4)])

    def test_a_tree_that_cannot_be_followed(self):
        batch = Batch("top_down", 50, 2, torch.float32, 3)
        batch.trees.parents[-1] = 99 if batch.trees.parents[-1] >= 0 else 5
        device = OnDevice(batch, SamplingParams())
        device.call()
        assert [STATUS[s] for s in device.call.status.tolist()] == ["fine", "malformed"]

    def test_arguments_are_checked(self):
        batch = Batch("top_down", 50, 2, torch.float32, 3)
        with pytest.raises(InputError, match="on one device"):
            verify(
                batch.trees,
                batch.target.cuda(),
                laws=batch.laws,
                draft_logits=batch.draft,
                sampling=SamplingParams(),
            )
        with pytest.raises(InputError, match="splits"):
            OnDevice(batch, SamplingParams(), splits=3).call()


class FakeCuda:
    """A tensor that says it lies on a CUDA device."""

    def __init__(self, rows):
        self.rows = rows

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream=None):
        return self.rows.__dlpack__()


@pytest.mark.skipif(_core.cuda_built(), reason="this build has CUDA")
def test_a_build_without_cuda_says_how_to_get_it():
    rows = FakeCuda(np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(CudaUnavailableError, match="reinstall with ANYDRAFT_CUDA=ON"):
        verify(Trees.chains([[0]]), rows, laws=[Law("one_hot")], sampling=SamplingParams())
    with pytest.raises(CudaUnavailableError, match="reinstall with ANYDRAFT_CUDA=ON"):
        _core.sample_rows(rows, SamplingParams(), [0.5])


def test_arguments_for_the_device_are_checked_without_one():
    ints = torch.zeros(3, dtype=torch.int32)
    params = law_params([SamplingParams()] * 2, "cpu")
    offsets, rows = torch.tensor([0, 1, 3], dtype=torch.int32), torch.zeros(3, 8)
    laws = {"kinds": ints, "rows": ints, "sampling": params}
    with pytest.raises(InputError, match=r"tokens \[3\], got \[2\]"):
        Verification(ints[:2], ints, offsets, rows, **laws)
    with pytest.raises(InputError, match=r"tokens torch\.int32"):
        Verification(ints.long(), ints, offsets, rows, **laws)
    with pytest.raises(InputError, match="sampling"):
        Verification(ints, ints, offsets, rows, **laws | {"sampling": params[:1]})
    with pytest.raises(InputError, match="rows in CUDA memory"):
        Verification(ints, ints, offsets, rows, **laws)
    with pytest.raises(InputError, match="rows in CUDA memory"):
        Sampler(rows, law_params([SamplingParams()] * 3, "cpu"), Coins())
    pair = Pair(9)
    with pytest.raises(InputError, match="rows of 13 drafter and 14 target tokens"):
        Verification(ints, ints, offsets, rows, projection=pair.projection("cpu"), **laws)
