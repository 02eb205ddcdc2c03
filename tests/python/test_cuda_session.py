"""Sessions whose models leave their rows on a CUDA device: the texts of the same models in memory.

Also run on the interpreter of the kernels (tests/ptx)."""

import pytest
from penalties import Penalties
from toys import DRAFTER, TARGET, TableModel

torch = pytest.importorskip("torch")

from anydraft import SamplingParams, Slrs, SpeculativeSession, _core  # noqa: E402
from anydraft.placement import Placement  # noqa: E402

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not (torch.cuda.is_available() and _core.cuda_built()), reason="no CUDA device or build"
    ),
]
DEVICE = torch.device("cuda", 0)


class OnDevice(TableModel):
    """A table whose rows lie on the device; it may say so, as models of transformers do."""

    def __init__(self, *args, says=True, dtype=torch.float32, **named):
        super().__init__(*args, **named)
        self.dtype = dtype
        if says:
            self.device = DEVICE

    def __call__(self, feeds):
        return torch.from_numpy(super().__call__(feeds)).to(self.dtype).to(DEVICE)


class InMemory(TableModel):
    """The same numbers."""

    def __init__(self, *args, dtype=torch.float32, **named):
        super().__init__(*args, **named)
        self.dtype = dtype

    def __call__(self, feeds):
        return torch.from_numpy(super().__call__(feeds)).to(self.dtype)


def texts(kind, bridge, *, drafter_kind=None, prompts=((0, 1), (2,), (1, 1, 0)), **options):
    drafted = TARGET if bridge == "same" else DRAFTER
    ran = {name: options.pop(name) for name in ("logits_processor",) if name in options}
    named = {name: options.pop(name) for name in ("dtype",) if name in options}
    sampling = options.pop("sampling", SamplingParams(temperature=1.1, seed=3))
    target = kind(TARGET, 1, padding=2, **named)
    drafter = (drafter_kind or kind)(drafted, 2, padding=1, **named)
    session = SpeculativeSession(target, drafter, bridge=bridge, **options)
    done = session.generate([list(p) for p in prompts], sampling=sampling, max_tokens=12, **ran)
    return session, [(one.tokens, one.stats.drafted, one.stats.accepted) for one in done]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bridge", ["same", "tli", "slem", "slrs"])
def test_texts_of_rows_on_the_device(bridge, dtype):
    session, got = texts(OnDevice, bridge, dtype=dtype)
    assert session._placement.device == DEVICE
    assert got == texts(InMemory, bridge, dtype=dtype)[1]
    assert sum(accepted for _, _, accepted in got) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"tree": "2x2", "scheme": "without_replacement"},
        {"tree": "3,1,1", "verifier": "multipath"},
        {"tree": "dynamic:2,2,3,6", "verifier": "top_down", "scheme": "spechub"},
        {"sampling": SamplingParams(temperature=0)},
        {"sampling": SamplingParams(top_k=3, top_p=0.9, seed=5)},
    ],
)
def test_trees_and_filters(options):
    assert texts(OnDevice, "tli", **options)[1] == texts(InMemory, "tli", **options)[1]


def test_the_device_is_found_out_by_the_rows():
    session, got = texts(lambda *a, **n: OnDevice(*a, says=False, **n), "tli")
    assert session._placement.device == DEVICE
    assert got == texts(InMemory, "tli")[1]


@pytest.mark.parametrize("bridge", ["tli", "slem"])
def test_a_drafter_in_memory(bridge):
    session, got = texts(OnDevice, bridge, drafter_kind=InMemory)
    assert session._placement.device == DEVICE
    assert got == texts(InMemory, bridge)[1]


def test_processors_run_where_the_rows_are():
    penalties = Penalties(frequency_penalty=0.7, repetition_penalty=1.2, bad_words=[[2, 0]])

    def processor(prompt, output, row):
        seen.append(row.is_cuda)
        return penalties(prompt, output, row)

    seen = []
    got = texts(OnDevice, "same", logits_processor=processor)[1]
    assert seen and all(seen)
    assert got == texts(InMemory, "same", logits_processor=processor)[1]


def test_what_the_engine_reads_in_memory():
    """Log-probabilities and changes of logits: requests of their own beside others."""
    sampling = [
        SamplingParams(seed=1, logprobs=2),
        SamplingParams(seed=2),
        SamplingParams(seed=3, presence_penalty=0.5),
    ]
    session, got = texts(OnDevice, "tli", sampling=sampling)
    assert session._placement.device == DEVICE
    assert got == texts(InMemory, "tli", sampling=sampling)[1]
    first = session.runs[0].generation
    assert len(first.logprobs) == len(first.tokens)


@pytest.mark.parametrize(
    ("bridge", "tree"), [(Slrs("settled"), None), (Slrs(2), None), ("slrs", "2x2")]
)
def test_what_the_device_does_not_carry_is_copied_and_said(bridge, tree, caplog):
    with caplog.at_level("INFO", logger="anydraft"):
        session, got = texts(OnDevice, bridge, tree=tree)
    assert session._placement.device is None
    assert "slrs with a tree or a general stop rule" in caplog.text
    assert got == texts(InMemory, bridge, tree=tree)[1]


def test_auto_is_a_bridge_by_name_there():
    session, _ = texts(OnDevice, "auto")
    assert session.bridge == "tli"
    placement = Placement(OnDevice(TARGET, 1), "auto", "auto", None)
    assert placement.device is None  # a core that learns from whole rows has them in memory
