"""The plug-in for vLLM without vLLM: what it drafts and keeps, and what it refuses. Inside vLLM:
tests/vllm."""

import json
import logging
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from toys import DRAFTER, TARGET, TableModel
from vllm_host import Host, config

from anydraft import Error, InputError, SamplingParams, Vocabulary, VocabularyError, _core
from anydraft.cli import main
from anydraft.testing import chi_square
from anydraft.vllm import batch_drafter, checks, compat, proposer
from anydraft.vllm.batch_drafter import CERTAIN, Ask, BatchDrafter, choose_bridge
from anydraft.vllm.judging import Judged, judge
from anydraft.vllm.options import Options
from anydraft.vllm.row_requests import RowRequests
from anydraft.vllm.target import target_vocabulary


@pytest.fixture
def model(monkeypatch):
    """The drafter's model, in place of a file's."""
    table = TableModel(DRAFTER, 2)
    monkeypatch.setattr(batch_drafter, "load_model", lambda *_, **__: table)
    monkeypatch.setattr(proposer, "target_vocabulary", lambda _: TARGET)
    monkeypatch.setattr(compat, "check", lambda *_: None)
    monkeypatch.setattr(compat, "check_stock_sampler", lambda: None)
    return table


def expected(so_far):
    return "abcab"[len(so_far) % 3 :]


@pytest.mark.parametrize("bridge", ["tli", "tli and no room", "slrs", "slem", "lookup", "text"])
def test_texts_have_the_target_s_distribution(model, bridge):
    """4,000 requests of three tokens in ragged batches, against the exact distribution. The first
    token has no draft yet."""
    without = {"lookup": "lookup", "text": f"text:{__name__}:expected"}
    options = {"drafter": "m", "bridge": bridge}
    if bridge in without:
        options = {"drafter": without[bridge]}
    no_room = bridge.endswith("no room")  # caches go before their drafts are judged
    if no_room:
        options |= {"bridge": "tli", "cache_tokens": 1000}
    host, prompt, runs = Host(options, exact=True), (0, 1, 2, 0), 4000
    size = TARGET.size
    counts, accepted = np.zeros((size,) * 3, np.int64), 0
    for begin in range(0, runs, 500):
        ids = list(range(begin, begin + 500))
        for id in ids:
            host.add(id, prompt, top_k=4)
        while going := [id for id in ids if len(host.texts[id]) < 7]:
            host.random.shuffle(going)
            new = host.step(going[: 1 + int(host.random.integers(len(going)))])
            accepted += sum(len(tokens) > 1 for tokens in new.values())
        for id in ids:
            counts[tuple(host.texts[id][4:7])] += 1
            host.remove(id)
    assert accepted > 10  # drafts were kept at all
    assert (host.lost > 100) == no_room
    sampling = SamplingParams(temperature=1.1, top_k=4)

    def masses(*text):
        row = host.target.row((*prompt, *text))[None].copy()
        return np.array(_core.testing.distribution_masses(row, sampling))[0]

    joint = np.zeros((size,) * 3)
    for a in range(size):
        for b in range(size):
            joint[a, b] = masses()[a] * masses(a)[b] * masses(a, b)
    pair = map(torch.from_numpy, (counts.flatten(), joint.flatten()))
    assert chi_square(*pair).p_value > 1e-3


def test_certain_drafts_give_plain_seeded_text(model):
    """Alone and in batches, with drafts or without: match draws what plain decoding draws."""
    host = Host({"drafter": "m", "bridge": "slem"}, exact=True)
    for id in range(6):
        host.add(id, (id % 5, 1), seed=id)
        host.drafted[id] = [-1] * 3  # vLLM fills up the step of a prompt of one token
    for _ in range(8):
        host.step([id for id in range(6) if host.random.random() < 0.7] or [0])
    for id in range(6):
        text, params = [id % 5, 1], SamplingParams(temperature=1.1, seed=id)
        while len(text) < len(host.texts[id]):
            row = torch.from_numpy(host.target.row(tuple(text)))[None]
            [[token]] = judge(row, [Judged([], None, params, len(text))], None, "block")
            text.append(token)
        assert host.texts[id] == text


def test_an_id_that_is_used_again_is_another_request(model):
    host = Host({"drafter": "m", "bridge": "tli"}, exact=True)
    texts = []
    for seed in (1, 2, 1):
        host.add("id", (0, 1, 2, 0), seed=seed)
        for _ in range(4):
            host.step(["id"])
        texts.append(host.texts["id"])
        host.remove("id")
    assert texts[0][:8] == texts[2][:8] != texts[1][:8]


def test_a_proposer_alone_drafts_for_rows_without_names(model):
    """Drafts are those of the request's own text, wherever its row moves; caches go on."""
    host = Host({"drafter": "m"}, exact=False)
    assert host.proposer.drafter.bridge == "slem"
    for id in range(4):
        host.add(id, (id, 1, 2, 0), temperature=0)
    steps = [[0, 1, 2, 3], [1, 3, 0], [2, 0], [0, 1, 2, 3], [3]]
    for ids in steps:
        before = model.calls
        host.step(ids)
        assert len(model.texts) == 4 and model.calls - before <= 6  # no text was read anew
    alone = BatchDrafter(Options("m"), TARGET, 3, exact=False)
    for id in range(4):
        context = np.array(host.texts[id])
        [draft] = alone.propose([Ask(id, context, CERTAIN, 3)])
        if len(host.drafted[id]) == 3:
            assert draft.chain == host.drafted[id]


def test_rows_are_recognised_by_their_texts():
    rows = RowRequests(13)
    texts = {name: np.arange(start, start + 5) for name, start in (("a", 0), ("b", 10), ("c", 20))}
    first, _ = rows.names({0: texts["a"], 1: texts["b"]})
    longer = {name: np.append(text, 7) for name, text in texts.items()}
    moved, _ = rows.names({0: longer["b"], 1: longer["c"]})
    assert moved[0] == first[1] and moved[1] not in first.values()
    back, gone = rows.names({2: longer["a"]})
    assert back[2] == first[0] and not gone
    _, gone = rows.names({0: np.array([9, 9])})
    assert gone == [first[1]]  # the one seen longest ago
    other, _ = rows.names({0: np.array([0, 1, 2])})
    assert other[0] not in (*first.values(), *moved.values())


def test_caches_are_bounded(model):
    drafter = BatchDrafter(Options("m", bridge="tli", cache_tokens=20), TARGET, 3, exact=True)

    def propose(*ids, length=6):
        asks = [Ask(id, np.arange(length) % 5, SamplingParams(seed=1), 3) for id in ids]
        drafts = drafter.propose(asks)
        held = sum(max(map(len, slots), default=0) for slots in model.texts.values())
        assert held <= 20 + 3 * len(drafter.held)
        return [draft is not None for draft in drafts]

    assert propose("a", "b", "c") == [True] * 3
    assert propose("d") == [True] and drafter.held == ("b", "c", "d")  # the longest unused went
    assert propose("a", "b", "c", "d") == [True, True, True, False]
    assert propose("e", length=21) == [False]
    unknown = Ask("f", np.array([TARGET.size]), SamplingParams(seed=1), 3)
    assert drafter.propose([unknown]) == [None]  # a token that the vocabulary does not have
    for id in "abcd":
        drafter.forget(id)
    assert not model.texts and not drafter.held


def test_a_drafter_that_fails_is_off_and_the_service_goes_on(model, monkeypatch, caplog):
    host = Host({"drafter": "m"}, exact=True)
    for id in range(3):
        host.add(id, (0, 1, 2, 0))
    host.step([0, 1, 2])
    assert any(host.drafted.values())

    def broken(_):
        raise ConnectionError("the accelerator went away")

    monkeypatch.setattr(TableModel, "__call__", lambda self, feeds: broken(feeds))
    with caplog.at_level(logging.WARNING, "anydraft"):
        for _ in range(3):
            assert all(host.step([0, 1, 2]).values())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the accelerator went away" in caplog.text
    assert not any(host.drafted.values())


def odd(so_far):
    return {"a": 3}[so_far[0]]  # a number, or no such key


def test_a_text_s_function_that_fails_costs_drafts_alone(model, caplog):
    host = Host({"drafter": f"text:{__name__}:odd"}, exact=True)
    host.add(0, (0, 1, 2, 0))
    host.add(1, (1, 1, 2, 0))
    with caplog.at_level(logging.WARNING, "anydraft"):
        for _ in range(3):
            assert all(host.step([0, 1]).values())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not host.proposer.drafter.failed


def test_bad_rows_of_the_target_end_no_service(caplog):
    rows = torch.full((2, 4), torch.nan)
    rows[0] = torch.tensor([0.0, 9.0, 0.0, 0.0])
    greedy = SamplingParams(temperature=0, seed=0)
    requests = [Judged([], None, greedy, 3), Judged([], None, greedy, 3)]
    assert judge(rows, requests, None, "block")[0] == [1]
    assert "no distribution" in caplog.text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (None, "drafter"),
        ({"bridge": "tli"}, "drafter"),
        ({"drafter": "m", "draft": 3}, "got 'draft'"),
        ({"drafter": "m", "bridge": "sled"}, "bridge out of .* got 'sled'"),
        ({"drafter": "m", "draft_length": 0}, "draft_length >= 1"),
        ({"drafter": "m", "cache_tokens": True}, "cache_tokens"),
        ({"drafter": "m", "greedy_only": 1}, "greedy_only true or false"),
        ({"drafter": "m", "verifier": "match"}, "verifier out of"),
        ({"drafter": "m", "draft_confidence": float("nan")}, "number as draft_confidence, got nan"),
        ({"drafter": "m", "draft_confidence": 5}, r"draft_confidence in \[0, 1\] or .*got 5"),
        ({"drafter": "m", "bridge": "slem", "verifier": "top_down"}, "no verifier with bridge"),
        ({"drafter": "lookup", "weights": "int8"}, "got 'weights'"),
        ({"drafter": "lookup", "draft_confidence": 0.9}, "got 'draft_confidence'"),
        ({"drafter": "text:json:dumps", "verifier": "traversal"}, "got 'verifier'"),
        ({"drafter": "text:json:dumps", "bridge": "slem"}, "got 'bridge'"),
        ({"drafter": "text:json:nothing"}, "expected a function as"),
        ({"drafter": "m", "verifier": "traversal"}, "worker_cls of anydraft"),
        ({"drafter": "m", "bridge": "slrs"}, "worker_cls of anydraft"),
        ({"drafter": "m", "bridge": "same"}, "equal vocabularies"),
    ],
    ids=str,
)
def test_options_that_cannot_be(model, options, told):
    with pytest.raises(InputError, match=told):
        proposer.Proposer(config(options))


@pytest.mark.parametrize("drafter", [TARGET, DRAFTER], ids=["equal", "others"])
def test_slrs_needs_the_worker_whatever_the_vocabularies(drafter):
    options = Options("m", bridge="slrs")
    with pytest.raises(InputError, match="worker_cls of anydraft"):
        choose_bridge(options, TARGET, drafter, exact=False)
    assert choose_bridge(options, TARGET, drafter, exact=True) == "slrs"


def test_options_are_checked_where_no_one_reads_them():
    with pytest.raises(InputError, match="got 'draft_confidence, verifier'"):
        Options("lookup", draft_confidence=0.9, verifier="traversal")
    assert Options("m").draft_confidence == "auto"  # as a session's


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"speculative": {"rejection_sample_method": "block"}}, "rejection_sample_method"),
        ({"speculative": {"parallel_drafting": True}}, "parallel_drafting"),
        ({"speculative": {"model": "ngram"}}, "speculative_config"),
        ({"parallel": {"pipeline_parallel_size": 2}}, "pipeline"),
    ],
    ids=str,
)
def test_configurations_of_vllm_that_cannot_be(model, more, told):
    given = config({"drafter": "m"}, worker=checks.WORKERS["cpu"], **more)
    with pytest.raises(InputError, match=told):
        checks.check_worker(given)
        checks.read_options(given)


def test_pairs_that_cannot_be(model, monkeypatch, tmp_path):
    letters = Vocabulary.from_bytes([b"x", b"y"], encoder=lambda text: [ord(c) - 120 for c in text])
    monkeypatch.setattr(model, "vocabulary", letters)
    for bridge, exact in (("auto", True), ("slem", False)):
        with pytest.raises(VocabularyError, match="none in common"):
            BatchDrafter(Options("m", bridge=bridge), TARGET, 3, exact=exact)
    monkeypatch.undo()
    with pytest.raises((OSError, ValueError), match="nothing"):
        BatchDrafter(Options(str(tmp_path / "nothing")), TARGET, 3, exact=False)
    given = SimpleNamespace(skip_tokenizer_init=True, tokenizer=str(tmp_path))
    with pytest.raises(InputError, match="skip_tokenizer_init"):
        target_vocabulary(given)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        target_vocabulary(SimpleNamespace(skip_tokenizer_init=False, tokenizer=str(tmp_path)))


RUNNER = """
def propose_draft_token_ids(self, scheduler_output, sampled):
    if self.method == "ngram":
        return self.drafter.propose(4, sampled, a, b, slot_mappings=None)
    elif self.method == "custom_class":
        return cast(Any, self.drafter).propose(sampled, a, b, {})
"""


def test_hooks_that_differ_are_named(monkeypatch):
    assert compat.propose_call(RUNNER.format("slot_mappings=c")) == compat.PROPOSE_CALL
    assert compat.propose_call(RUNNER.format("c, step=1")) == (4, ["step"])
    assert compat.propose_call("def f(): pass") is None
    fake = ModuleType("vllm")
    fake.__version__ = "9.1"
    fake.hook = lambda metadata, logits: None
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setattr(compat, "_call_difference", lambda: None)
    compat.check({"vllm.hook": ["metadata", "logits"]})
    with pytest.raises(compat.UnsupportedVllmError) as told:
        compat.check({"vllm.hook": ["metadata", "draft_probs", "logits"], "vllm.other": []})
    assert "vllm 9.1" in str(told.value).lower() and "no vllm.other" in str(told.value)
    assert "vllm.hook(metadata, logits) instead of (metadata, draft_probs, logits)" in str(
        told.value
    )


@pytest.fixture
def stock(monkeypatch):
    """vLLM's module of its own sampler, whose temperatures are lost as in the CPU build 0.32.0."""
    platforms, sampler = (
        ModuleType("vllm.platforms"),
        ModuleType("vllm.v1.sample.rejection_sampler"),
    )
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: True)
    sampler.expand_batch_to_tokens = lambda values, ends, count, **_: torch.zeros(count)
    for fake in (platforms, sampler):
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return sampler


def test_a_sampler_that_loses_temperatures_is_refused(stock):
    with pytest.raises(compat.UnsupportedVllmError, match=r"takes \[0.0, 0.0, 0.0\]"):
        compat.check_stock_sampler()


def test_requests_that_draw_beside_greedy_only(model, stock, caplog):
    """They have their temperatures, and top-p, and are told of once; vLLM's warm-up is not."""
    host = Host({"drafter": "m", "greedy_only": True}, exact=False)
    given, ends = torch.tensor([0.7, 0.0, 1.3]), torch.tensor([2, 2, 5], dtype=torch.int32)
    for drafting in (False, True):
        if drafting:
            host.add(0, (0, 1, 2, 0), temperature=0)
            while not host.drafted[0]:
                host.step([0])
        for _ in range(2):
            spread = stock.expand_batch_to_tokens(given, ends, 5, replace_from=0, replace_to=1)
            assert torch.equal(spread, given[[0, 0, 2, 2, 2]])
        told = [(record.name, record.levelname) for record in caplog.records]
        assert told == [("anydraft", "ERROR")] * drafting
    greedy = stock.expand_batch_to_tokens(given, ends + torch.tensor([0, 1, 1]), 6, 0, 1)
    assert greedy.dtype == given.dtype and greedy[2] == 1  # of a greedy one: as it was
    top_k = stock.expand_batch_to_tokens(torch.tensor([4, 0, 2], dtype=torch.int32), ends, 5)
    assert top_k.tolist() == [4, 4, 2, 2, 2] and top_k.dtype == torch.int32


def test_no_vllm_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(Error, match=r"pip install 'anydraft\[vllm\]'"):
        compat.check()


def test_the_command_line_prints_what_vllm_is_started_with(tmp_path, capsys):
    asked = ["vllm-config", "--target", "owner/target", "--drafter", "owner/drafter", "--json"]
    assert main([*asked, "--worker", "gpu", "--bridge", "tli", "--cache-tokens", "9"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["additional_config"]["anydraft"] == {
        "drafter": "owner/drafter",
        "bridge": "tli",
        "cache_tokens": 9,
    }
    assert told["worker_cls"] == checks.WORKERS["gpu"] and "not checked" in printed.err
    assert told["speculative_config"]["model"] == checks.PROPOSER
    assert main([*asked[:-1]]) == 0
    assert capsys.readouterr().out.startswith("vllm serve owner/target \\\n  --speculative-config")
    assert main([*asked, "--verifier", "block"]) == 2
    assert main([*asked, "--draft-confidence", "auto"]) == 0
    assert main([*asked, "--num-speculative-tokens", "0"]) == 2
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert main(["vllm-config", "--target", str(tmp_path), "--drafter", "lookup"]) == 2
    assert "tokenizer.json" in capsys.readouterr().err
