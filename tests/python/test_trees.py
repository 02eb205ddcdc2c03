"""Trees in the transformers adapter: each node's logits are those of a pass over its own path."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    VOCAB,
    Feed,
    assert_close,
    build,
    feed,
    fresh,
    llama,
    one_thread,  # noqa: F401
    wrap,
)

from anydraft import InputError  # noqa: E402

_NAMES = ["gemma3", "llama", "mistral", "qwen2"]


class _Forest:
    """What a request's cache holds, told by tokens and parents alone."""

    def __init__(self, request: int, draw: random.Random) -> None:
        self.request, self.draw = request, draw
        self.tokens: list[int] = []
        self.parents: list[int] = []  # slots, -1: none

    def path(self, slot: int) -> list[int]:
        """The slots from the first to this one."""
        return [] if slot < 0 else [*self.path(self.parents[slot]), slot]

    def text(self, slot: int) -> list[int]:
        return [self.tokens[s] for s in self.path(slot)]

    def feed(self, new: int, keep: Any) -> Feed:
        """Keeps these slots and puts a random tree behind them."""
        if keep is not None:
            place = {old: i for i, old in enumerate(keep)}
            self.tokens = [self.tokens[slot] for slot in keep]
            self.parents = [place.get(self.parents[slot], -1) for slot in keep]
        held = len(self.tokens)
        parents, positions = [], []
        for i in range(new):
            parent = self.draw.randint(-1, i - 1) if self.draw.random() < 0.8 else -1
            if held and self.draw.random() < 0.1:
                parent = -2 - self.draw.randrange(held)
            slot = held + parent if parent >= -1 else -2 - parent
            parents.append(parent)
            self.tokens.append(self.draw.randrange(3, VOCAB))
            self.parents.append(slot)
            positions.append(len(self.path(held + i)) - 1)
        return Feed(self.request, self.tokens[held:], positions, parents, keep, new)

    def expected(self, reference: Any, new: int) -> Any:
        """The rows of the last `new` slots, each by a pass of its own."""
        last = range(len(self.tokens) - new, len(self.tokens))
        return torch.stack([fresh(reference, self.text(slot))[-1] for slot in last])

    def choose(self) -> Any:
        """What to keep: the path to some node, a prefix, or any slots with their parents."""
        size = len(self.tokens)
        way = self.draw.random()
        if way < 0.6:
            return self.path(self.draw.randrange(size * 2 // 3, size))
        if way < 0.8:
            return range(self.draw.randint(size // 2, size))
        if way < 0.9:
            return None
        kept: list[int] = []
        for slot, parent in enumerate(self.parents):
            if (parent < 0 or parent in kept) and self.draw.random() < 0.9:
                kept.append(slot)
        return kept


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", _NAMES)
def test_every_node_equals_a_pass_over_its_path(name: str, pack: bool, seed: int) -> None:
    reference, model = build(name), wrap(build(name), pack)
    draw = random.Random(seed)
    forests = [_Forest(request, draw) for request in (4, 9, 2)]
    feeds = [forest.feed(draw.randint(6, 14), keep=range(0)) for forest in forests]
    for _ in range(5):
        expected = [f.expected(reference, a.rows) for f, a in zip(forests, feeds, strict=True)]
        assert_close(model(feeds), torch.cat(expected))
        feeds = [f.feed(draw.randint(1, 9), f.choose()) for f in forests]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", _NAMES)
def test_rounds_of_accepted_paths(name: str, pack: bool) -> None:
    # As a session does it: a prompt, then the root with its tree, of which a path is kept.
    reference, model = build(name), wrap(build(name), pack)
    draw = random.Random(5)
    text = [draw.randrange(3, VOCAB) for _ in range(12)]
    model([feed(text, rows=0)])
    keep: Any = range(len(text))
    for _ in range(6):
        held = len(text)
        parents = [-1, 0, 0, 1, 1, 2, 5]
        depths = [0, 1, 1, 2, 2, 2, 3]
        tokens = [draw.randrange(3, VOCAB) for _ in parents]
        positions = [held + depth for depth in depths]
        got = model([Feed(0, tokens, positions, parents, keep, len(tokens))])
        paths = [[0], [0, 1], [0, 2], [0, 1, 3], [0, 1, 4], [0, 2, 5], [0, 2, 5, 6]]
        rows = [fresh(reference, text + [tokens[i] for i in path])[-1] for path in paths]
        assert_close(got, torch.stack(rows))
        accepted = draw.choice(paths)
        keep = [*range(held), *(held + i for i in accepted)]
        text += [tokens[i] for i in accepted]
    tail = [draw.randrange(3, VOCAB) for _ in range(4)]
    chain = Feed(0, tail, list(range(len(text), len(text) + 4)), [-1, 0, 1, 2], keep, 2)
    assert_close(model([chain]), fresh(reference, text + tail)[-2:])


def _tree() -> Feed:
    return Feed(0, [4, 5, 6], [0, 1, 1], [-1, 0, 0], None, 3)


def test_models_that_cannot_hold_a_tree_say_so() -> None:
    config = transformers.BloomConfig(vocab_size=VOCAB, hidden_size=48, n_layer=2, n_head=6)
    bloom = wrap(transformers.BloomForCausalLM(config))  # its positions come from the mask
    for _ in range(2):
        with pytest.raises(InputError, match="use drafts that are chains"):
            bloom([_tree()])
    text = [4, 5, 6]
    assert_close(bloom([feed(text)]), fresh(bloom.model, text))
    chunked = llama()
    chunked.config.layer_types = ["chunked_attention"] * 3
    with pytest.raises(InputError, match="chunked_attention"):
        wrap(chunked)([_tree()])


def test_a_model_deaf_to_masks_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrap(llama())
    forward = model.model.forward

    def deaf(*arguments: Any, attention_mask: Any = None, **options: Any) -> Any:
        return forward(*arguments, **options)

    monkeypatch.setattr(model.model, "forward", deaf)
    with pytest.raises(InputError, match="the logits differ"):
        model([_tree()])


def test_half_precision_trees() -> None:
    model = wrap(llama().to(torch.bfloat16))
    got = model([_tree()])
    for row, path in zip(got, ([4], [4, 5], [4, 6]), strict=True):
        expected = fresh(model.model, path)[-1].float()
        torch.testing.assert_close(row.float(), expected, atol=0.02, rtol=0.05)
