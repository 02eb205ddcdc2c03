"""Drafts for hosts that own the target: proposals that `verify` judges, whatever contexts do."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import DRAFTER, TARGET, TableModel

from anydraft import (
    Drafter,
    InputError,
    SamplingParams,
    SpeculativeSession,
    Trees,
    _core,
    verify,
)
from anydraft.testing import chi_square

BRIDGES = ["lookup", "same", "tli", "slem", "slrs"]
PARAMS = SamplingParams(temperature=1.1, seed=3)


def model_for(bridge):
    return TableModel(TARGET if bridge == "same" else DRAFTER, 2)


def drafter(bridge, **options):
    if bridge == "lookup":  # which drafts no trees
        return Drafter(TARGET, "lookup", **{**options, "tree": None})
    return Drafter(TARGET, model_for(bridge), bridge=bridge, **options)


def judge(draft, target, context, params, request=0):
    """What the host keeps of a draft: its new tokens."""
    paths = [[]]
    for token, parent in zip(draft.tokens[1:], draft.parents[1:], strict=True):
        paths.append([*paths[parent], token])
    rows = np.stack([target.row((*context, *path)) for path in paths])
    width = max(rows.shape[1], 0 if draft.logits is None else draft.logits.shape[1])
    wide = np.full((len(rows), width), -np.inf, np.float32)
    wide[:, : rows.shape[1]] = rows
    result = verify(
        draft.trees,
        wide,
        proposals=draft.proposals,
        draft_logits=draft.logits,
        sampling=params,
        draft_sampling=draft.sampling,
        verifier="match" if draft.logits is None else "traversal",
        requests=[request],
        positions=[len(context)],
    )
    return [*(draft.tokens[node] for node in result.path()), int(result.next_token[0])]


@pytest.mark.parametrize(
    ("bridge", "options"),
    [
        *((bridge, {}) for bridge in BRIDGES),
        ("tli", {"tree": "2x2", "scheme": "spechub"}),
        ("slem", {"tree": "2,1"}),
    ],
    ids=str,
)
def test_verified_drafts_have_the_target_s_distribution(bridge, options):
    """4,000 seeds of two tokens, many requests a call, against the exact distribution."""
    length = {} if options else {"draft_length": 2}
    target, one = TableModel(TARGET, 1), drafter(bridge, **length, **options)
    prompt, runs = (0, 1, 2, 0), 4000
    size = TARGET.size
    counts = np.zeros((size, size), np.int64)
    for begin in range(0, runs, 500):
        ids = range(begin, begin + 500)
        params = [SamplingParams(temperature=1.1, seed=i) for i in ids]
        texts = {i: [] for i in ids}
        while going := [i for i in ids if len(texts[i]) < 2]:
            contexts = [[*prompt, *texts[i]] for i in going]
            own = [params[i - begin] for i in going]
            drafts = one.propose(going, contexts, own, 2)
            for i, draft, context, mine in zip(going, drafts, contexts, own, strict=True):
                texts[i] += judge(draft, target, context, mine)
        for i in ids:
            counts[tuple(texts[i][:2])] += 1
            one.forget(i)
    first = distribution(target, prompt)
    joint = np.stack([first[a] * distribution(target, (*prompt, a)) for a in range(size)])
    assert chi_square(*map(torch.from_numpy, (counts.flatten(), joint.flatten()))).p_value > 1e-3


def distribution(target, text):
    row = target.row(text)[None].copy()
    return np.array(_core.testing.distribution_masses(row, PARAMS))[0]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BRIDGES), st.sampled_from([None, "2x2"]), st.integers(0, 10**6))
def test_contexts_that_grow_are_cut_and_change(bridge, tree, seed):
    """The model's cache holds the context's text and no other (that its slots are what they are
    said to be TableModel asserts)."""
    chosen = random.Random(seed)
    one = drafter(bridge, tree=tree)
    contexts = {name: [chosen.randrange(5)] for name in "abc"}
    for _ in range(8):
        names = chosen.sample("abc", chosen.randint(1, 3))
        drafts = one.propose(names, [contexts[name] for name in names], PARAMS, 4)
        for name, draft in zip(names, drafts, strict=True):
            context = contexts[name]
            assert draft.tokens[0] == context[-1]
            if bridge in ("same", "lookup"):  # else the way to a context says how it is spelt
                [new] = drafter(bridge, tree=tree).propose(["new"], [context], PARAMS, 4)
                assert (draft.tokens, draft.parents) == (new.tokens, new.parents)
                assert new.logits is None or np.array_equal(draft.logits, new.logits)
            if bridge != "lookup":
                text, vocabulary = TARGET.decode(context), one._model.vocabulary
                for slot in one._model.texts.get(one._numbers[name], ()):
                    held = vocabulary.decode(slot)
                    assert text.startswith(held) or held.startswith(text)
            contexts[name] = another(chosen, draft, context)


def another(chosen, draft, context):
    """A context after this one: along the draft for some nodes, then off it, cut, or changed."""
    context, node = list(context), 0
    for _ in range(chosen.randrange(4)):
        children = [i for i, parent in enumerate(draft.parents) if parent == node]
        if children:
            node = chosen.choice(children)
            context.append(draft.tokens[node])
    context.append(chosen.randrange(5))
    cut = chosen.choice([0, 0, 0, 1, 2, len(context)])
    context = context[: max(1, len(context) - cut)]
    if chosen.random() < 0.2:
        context[chosen.randrange(len(context))] = chosen.randrange(5)
    return context


def test_requests_share_calls_and_forget_gives_caches_back():
    one = drafter("tli", draft_length=3)
    drafts = one.propose(range(20), [[i % 5] for i in range(20)], PARAMS, 10)
    assert one._model.calls == 3 and len(one._model.texts) == 20
    assert all(len(draft.chain) == 3 for draft in drafts)
    for i in range(20):
        one.forget(i)
    assert one._model.texts == {} and len(one._core) == 0
    one.forget("unknown")  # nothing


def test_remaining_and_stop_bound_a_draft():
    one = drafter("same", draft_length=4)
    lengths = [0, 1, 2, 9]
    drafts = one.propose(range(4), [[0]] * 4, PARAMS, lengths)
    assert [len(draft.chain) for draft in drafts] == [0, 1, 2, 4]
    assert [draft.chain for draft in drafts[1:3]] == [drafts[3].chain[:1], drafts[3].chain[:2]]
    ends = drafts[3].chain[1]
    [ended] = drafter("same", draft_length=4).propose([0], [[0]], PARAMS, 9, stop=[ends])
    assert ended.chain == drafts[3].chain[: drafts[3].chain.index(ends) + 1]


def test_a_greedy_drafter_is_certain_and_seedless_requests_differ():
    [draft] = drafter("slem").propose([0], [[0, 1]], PARAMS, 4)
    assert draft.logits is None and {p.kind for p in draft.proposals} == {"one_hot"}
    greedy = SamplingParams(temperature=0)
    [draft] = drafter("tli").propose([0], [[0, 1]], PARAMS, 4, draft_sampling=greedy)
    assert draft.logits is None
    unseeded = drafter("same").propose(range(30), [[0]] * 30, SamplingParams(), 4)
    assert len({tuple(draft.chain) for draft in unseeded}) > 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((["a"], [[]], PARAMS, 4), "context of at least one token"),
        ((["a", "a"], [[0], [1]], PARAMS, 4), "distinct ids"),
        ((["a"], [[0], [1]], PARAMS, 4), "as many contexts"),
        ((["a"], [[0]], [PARAMS, PARAMS], 4), "as many contexts"),
        ((["a"], [[0]], PARAMS, [1, 2]), "as many contexts"),
        ((["a"], [[0]], 0.5, 4), "SamplingParams as sampling, got 0.5"),
        ((["a"], [[-1]], PARAMS, 4), "token ids"),
        ((["a"], [[2**31]], PARAMS, 4), "token ids"),
        ((["a"], ["text"], PARAMS, 4), "token ids"),
        ((["a"], [[0]], PARAMS, "4"), "remaining"),
        ((["a"], [[0]], PARAMS, -1), "remaining"),
    ],
    ids=str,
)
def test_calls_that_cannot_be(arguments, told):
    one = drafter("tli")
    with pytest.raises(InputError, match=told):
        one.propose(*arguments)
    assert len(one._core) == 0  # nothing began
    [draft] = one.propose(["a"], [[0]], PARAMS, 4)
    assert draft.tokens[0] == 0


def test_drafters_that_cannot_be():
    with pytest.raises(InputError, match="Vocabulary as draft_model"):
        Drafter(TARGET, "look up")
    with pytest.raises(InputError, match="Vocabulary as target_vocabulary"):
        Drafter(None, "lookup")
    with pytest.raises(InputError, match="draft_length >= 0, got 'auto'"):
        Drafter(TARGET, model_for("tli"), draft_length="auto")
    with pytest.raises(InputError, match="alone in draft_sampling, got n too"):
        drafter("tli").propose([0], [[0]], PARAMS, 4, draft_sampling=SamplingParams(n=2))
    with pytest.raises(InputError, match=r"\[Drafter\] .* SamplingParams as draft_sampling, got 0"):
        drafter("tli").propose([0], [[0]], PARAMS, 4, draft_sampling=0)


def test_auto_is_a_bridge_that_needs_no_target_rows():
    names = {bridge: Drafter(TARGET, model_for(bridge)).bridge for bridge in ("same", "tli")}
    assert names == {"same": "same", "tli": "tli"}


@pytest.mark.parametrize("bridge", ["same", "tli", "slrs"])
@pytest.mark.parametrize("verifier", ["block", "traversal", "top_down"])
def test_rows_that_stay_with_the_drafter_give_the_same_verdict(bridge, verifier):
    """Drafts judged where they lie, beside `verify` on their dense rows; cut and uncut chains."""
    one, target = drafter(bridge, draft_length=3), TableModel(TARGET, 1)
    ids, contexts = list(range(40)), [[i % 5, i % 3, 1] for i in range(40)]
    params = [SamplingParams(temperature=1.1, seed=i) for i in ids]
    drafts = one.propose(ids, contexts, params, 3)
    lengths = [min(i % 4, len(draft.chain)) for i, draft in zip(ids, drafts, strict=True)]
    rows = [
        target.row((*contexts[i], *drafts[i].chain[:node]))
        for i in ids
        for node in range(lengths[i] + 1)
    ]
    positions = [3] * len(ids)
    kept = one.verify(
        ids,
        lengths,
        np.stack(rows),
        params,
        verifier=verifier,
        requests=[0] * len(ids),
        positions=positions,
    )
    first = np.cumsum([0, *(length + 1 for length in lengths)])
    for i, draft in enumerate(drafts):
        cut = lengths[i] + 1
        wide = np.full((cut, draft.logits.shape[1]), -np.inf, np.float32)
        own = np.stack(rows[first[i] : first[i] + cut])
        wide[:, : own.shape[1]] = own
        alone = verify(
            Trees(draft.tokens[:cut], draft.parents[:cut], [0, cut]),
            wide,
            proposals=draft.proposals[:cut],
            draft_logits=draft.logits,
            sampling=params[i],
            draft_sampling=draft.sampling,
            verifier=verifier,
            requests=[0],
            positions=[3],
        )
        assert kept.path(i) == alone.path() and kept.next_token[i] == alone.next_token[0]
    assert sum(len(kept.path(i)) for i in ids) > 5
    assert not any(kept.status)


def test_equal_children_are_judged_as_often_as_they_were_drawn():
    """Paths that merge: what multi-path verification mixes goes by how many there are."""
    tree = {"tree": "4,1", "verifier": "multipath"}
    one, target = drafter("same", **tree), TableModel(TARGET, 1)
    merged, differ = 0, 0
    for seed in range(60):
        params, context = SamplingParams(temperature=1.1, seed=seed), [seed % 5, 1]
        [draft] = one.propose([seed], [context], params, 2)
        paths = [[]]
        for token, parent in zip(draft.tokens[1:], draft.parents[1:], strict=True):
            paths.append([*paths[parent], token])
        rows = np.stack([target.row((*context, *path)) for path in paths])
        keys = {"requests": [0], "positions": [2], "verifier": "multipath"}
        kept = one.verify([seed], [len(paths) - 1], rows, [params], **keys)

        def judged(trees, draft=draft, rows=rows, params=params, keys=keys):
            told = verify(
                trees,
                rows,
                proposals=draft.proposals,
                draft_logits=draft.logits,
                sampling=params,
                draft_sampling=draft.sampling,
                **keys,
            )
            return [*told.path(), int(told.next_token[0])]

        expected = judged(draft.trees)
        assert [*kept.path(0), int(kept.next_token[0])] == expected
        merged += any(count > 1 for count in draft.paths[1:])
        differ += judged(Trees(draft.tokens, draft.parents, [0, len(paths)])) != expected
    assert merged > 20 and differ > 0


def test_a_call_runs_the_model_for_its_own_requests_alone():
    one = drafter("tli", draft_length=2)
    fed, model, failing = [], one._model, [True]

    def call(feeds):
        if failing.pop() if failing else False:
            raise RuntimeError("busy")
        fed.extend(feed.request for feed in feeds)
        return model(feeds)

    one.propose(["a", "b"], [[0], [1]], PARAMS, 0)
    one._model = call
    with pytest.raises(RuntimeError, match="busy"):
        one.propose(["a", "b"], [[0], [1]], PARAMS, np.int64(2))
    [draft] = one.propose(["b"], [[1]], PARAMS, [np.int64(2)])
    assert len(draft.chain) == 2 and set(fed) == {one._numbers["b"]}


def test_drafts_that_cannot_be_judged():
    one = drafter("tli", draft_length=2)
    [draft] = one.propose(["a"], [[0]], PARAMS, 2, dense=False)
    assert draft.logits is None and not draft.is_certain
    keys = {"requests": [0], "positions": [1]}
    for arguments, told in (
        ((["b"], [2], np.zeros((3, 5)), [PARAMS]), "got 'b'"),
        ((["a"], [3], np.zeros((4, 5)), [PARAMS]), r"lengths in \[0, 2\], got 3"),
        ((["a"], [2], np.zeros((2, 5)), [PARAMS]), r"\[3, vocab\], got \[2, 5\]"),
        ((["a"], [2, 1], np.zeros((3, 5)), [PARAMS]), "as many lengths"),
        ((["a"], [2], np.zeros((3, 5)), [PARAMS.replace(min_tokens=1)]), "min_tokens"),
    ):
        with pytest.raises(InputError, match=told):
            one.verify(
                *(x.astype(np.float32) if hasattr(x, "dtype") else x for x in arguments), **keys
            )
    rows = np.zeros((3, TARGET.size), np.float32)
    one_for_all, each = (one.verify(["a"], [2], rows, s, **keys) for s in (PARAMS, [PARAMS]))
    assert one_for_all == each
    for wrong, told in (
        ({"requests": [-1]}, "requests >= 0, got -1"),
        ({"positions": [1.5]}, "positions >= 0, got 1.5"),
        ({"positions": 3}, "a list of positions, got 3"),
    ):
        with pytest.raises(InputError, match=told):
            one.verify(["a"], [2], rows, PARAMS, **{**keys, **wrong})
    with pytest.raises(InputError, match=r"\[Drafter.verify\] .* as sampling, got None"):
        one.verify(["a"], [2], rows, None, **keys)
    with pytest.raises(InputError, match="token ids as stop, got"):
        one.propose(["b"], [[0]], PARAMS, 2, stop=["x"])


def test_a_model_may_serve_sessions_and_drafters_at_once():
    """Each has caches of its own."""
    greedy = SamplingParams(temperature=0, max_tokens=12)
    expected = SpeculativeSession(TableModel(TARGET, 3)).generate([0, 1, 2], sampling=greedy).tokens
    model = TableModel(TARGET, 3)
    stream = SpeculativeSession(model).stream([0, 1, 2], sampling=greedy)
    drafts = [Drafter(TARGET, model, draft_length=2) for _ in range(2)]
    text = []
    for event in stream:
        text += event.tokens
        for drafter_of_two, context in zip(drafts, ([2, 2, 1], [1, 0, 2, 1]), strict=True):
            drafter_of_two.propose(["x"], [context], SamplingParams(seed=1), 4)
    assert text == expected
