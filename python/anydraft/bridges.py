"""Which bridge a pair takes, and what only one of them knows."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

from anydraft import _core
from anydraft.checks import MOST, number, row_costs_of, string, whole_number
from anydraft.drafts import TreeShape, kind_number
from anydraft.errors import InputError
from anydraft.model import Model
from anydraft.text import Text

_USUAL = 4
_MOST_NODES = 1 << 16  # of a draft
_LONGEST = 15  # draft length "auto": with the root as many rows as a model's costs are known of
_CONFIDENCE = 0.3  # "auto", where nothing else says when a chain ends
_LIST = _core.bridges()
NAMES = tuple(name for name, has_model, *_ in _LIST if has_model)  # what a session may be given
CERTAIN = frozenset(name for name, _, _, certain, _ in _LIST if certain)  # drafts are not drawn


@dataclass(frozen=True)
class Slrs:
    """String-level rejection sampling with a stop rule. Timor et al. 2025, algorithm 3.

    Args:
        stop_rule: where a drafter's sequence stops, to see which target token it begins with: 1
            drafter token, another number of them, or "settled": where no text that may follow
            changes that target token (a drafter of bytes or characters wants this, or a number;
            its rows are then asked for as trees).
        budget: most drafter rows for a drafted target token. A sequence goes on while it has at
            least 1 / budget of the distribution, the likeliest first; the others stop earlier than
            the rule says, down to one drafter token each at 1. That is known when drawing, so the
            distribution stays exact; `stats.stopped` says how much of it the rule itself stopped.
            0: nothing is drafted.

    Raises:
        InputError: by a session, for a stop rule or a budget that cannot be.

    >>> import torch
    >>> from anydraft import SpeculativeSession, Vocabulary, stateless
    >>> def letters(text):
    ...     spell = lambda given: [text.index(char) for char in given]
    ...     return Vocabulary.from_bytes([char.encode() for char in text], encoder=spell)
    >>> target = stateless(lambda ids: torch.zeros(*ids.shape, 3), letters("abc"))
    >>> drafter = stateless(lambda ids: torch.zeros(*ids.shape, 3), letters("cba"))
    >>> SpeculativeSession(target, drafter, bridge=Slrs(stop_rule="settled", budget=16)).bridge
    'slrs'
    """

    stop_rule: int | Literal["settled"] = 1
    budget: int = 32

    def rule(self) -> _core.StopRule:
        rule, rows = self.stop_rule, whole_number(self.budget, "Slrs", "a draft budget", 0, MOST)
        if rule == "settled":
            return _core.StopRule(tokens=0, rows=rows)
        if not isinstance(rule, int) or isinstance(rule, bool) or rule < 1:
            raise InputError(
                '[Slrs] expected a stop rule of 1, 2, ... drafter tokens or "settled", got '
                f"{rule!r}"
            )
        return _core.StopRule(tokens=whole_number(rule, "Slrs", "a stop rule", 1, MOST), rows=rows)


Bridge: TypeAlias = str | Slrs  # a name out of NAMES


def is_model(drafter: Any) -> TypeGuard[Model]:
    """Whether a drafter is a model, not "lookup", `Text` or None."""
    return drafter is not None and not isinstance(drafter, str | Text)


def choose_bridge(target: Any, drafter: Any, bridge: Any) -> str:
    """The name of the bridge that is meant.

    Raises:
        InputError: it does not fit the pair.
    """
    if isinstance(drafter, str) and drafter != "lookup":
        raise InputError(f'[Session] expected a model or "lookup" as drafter, got {drafter!r}')
    if not is_model(drafter):
        own = "none" if drafter is None else "text" if isinstance(drafter, Text) else "lookup"
        if bridge not in ("auto", own):
            raise InputError(
                f'[Session] expected bridge "auto" without a model as drafter, got {bridge!r}'
            )
        return own
    name = "slrs" if isinstance(bridge, Slrs) else bridge
    if name not in NAMES:
        raise InputError(f"[Session] expected a bridge out of {', '.join(NAMES)}, got {bridge!r}")
    equal = target.vocabulary is drafter.vocabulary or target.vocabulary == drafter.vocabulary
    if name == "same" and not equal:
        raise InputError(
            '[Session] expected equal vocabularies for bridge "same", got different ones: '
            'bridge="tli" or "slem" take any pair'
        )
    if name == "auto":
        name = "same" if equal else "auto"
    return str(name)


def settled_bridge(target: Any, model: Any, bridge: Any) -> Bridge:
    """The bridge by name, for those who do not show the estimator of "auto" the target's rows.

    target: a `Vocabulary`; model: the drafter.
    """
    if bridge != "auto" or not is_model(model) or model.vocabulary == target:
        return bridge  # type: ignore[no-any-return]
    shared = _core.VocabularyMapTable(model.vocabulary.table, target.table).shared
    return "tli" if shared else "slem"


def drafter_options(
    target: Any,
    drafter: Any,
    bridge: Any,
    draft_length: int | Literal["auto"] | None,
    draft_confidence: float | Literal["auto"],
    tree: str | TreeShape | None,
    scheme: str,
    verifier: str,
) -> tuple[str, _core.DrafterOptions]:
    """The bridge that is meant and the engine's options.

    Raises:
        InputError: options that cannot be together.
    """
    auto = draft_length == "auto"
    length = _length(draft_length, tree)
    shape = TreeShape(()) if tree is None or length == 0 else TreeShape.parse(tree)
    name = choose_bridge(target, drafter, bridge)
    branches = shape.max_nodes > 0 or any(width > 1 for width in shape.widths)
    if name in ("lookup", "text"):
        _check_copied(name, draft_confidence, scheme, branches)
    if draft_confidence == "auto":  # a general stop rule draws from more than a row
        general = isinstance(bridge, Slrs) and bridge.stop_rule != 1
        draft_confidence = 0.0 if auto and not general else _CONFIDENCE
    elif number(draft_confidence, "Session", "draft_confidence") != 0 and branches:
        raise InputError(
            f"[Session] expected draft_confidence 0 with a tree, which is drafted whole, got "
            f"{draft_confidence!r}"
        )
    return name, _core.DrafterOptions(
        bridge=name,
        draft_length=length,
        draft_cost=draft_cost(target, drafter),
        row_costs=_row_costs(target) if auto and drafter is not None else [],
        auto_length=auto,
        tree=_core.TreeShape(
            list(shape.widths), max_nodes=shape.max_nodes, depth=shape.depth, beam=shape.beam
        ),
        stop_rule=bridge.rule() if isinstance(bridge, Slrs) else _core.StopRule(),
        scheme=kind_number(scheme),
        verifier=None if verifier == "auto" else string(verifier, "Session", "verifier"),
        draft_confidence=draft_confidence,
        draft_context=getattr(drafter, "context_length", None) or 0,
        expect=_expected(drafter, target.vocabulary) if name == "text" else None,
    )


def _length(draft_length: Any, tree: Any) -> int:
    """Most tokens of a chain; 0: nothing is drafted, in trees neither."""
    if draft_length is None:
        return _USUAL
    if draft_length == "auto":
        return _LONGEST
    try:
        length = whole_number(draft_length, "Session", "draft_length")
    except InputError:
        raise InputError(
            f'[Session] expected draft_length >= 0 or "auto", got {draft_length!r}'
        ) from None
    if length and tree is not None:
        raise InputError(
            f"[Session] expected draft_length or tree, which has a depth of its own, got "
            f"{draft_length} and {tree!r}"
        )
    return whole_number(length, "Session", "draft_length", 0, _MOST_NODES)


def _check_copied(name: str, draft_confidence: Any, scheme: str, branches: bool) -> None:
    """Raises:
    InputError: options that drafts without a model have no use for.
    """
    given = {
        "draft_confidence": draft_confidence not in ("auto", 0),
        "scheme": scheme != "iid",
        "tree": branches,
    }
    if others := [option for option, is_given in given.items() if is_given]:
        raise InputError(
            f"[Session] expected no {' and no '.join(others)} with a drafter of {name}, which "
            "proposes one certain chain"
        )


def _expected(text: Text, vocabulary: Any) -> Callable[[list[int]], list[int]]:
    # The core is not to hold the function, which may hold the session: no collector looks in there.
    held = weakref.ref(text)

    def ids(committed: list[int]) -> list[int]:
        text = held()
        return [] if text is None else text.ids(vocabulary, committed)

    return ids


def draft_cost(target: Any, drafter: Any) -> float:
    """A call of the drafter in calls of the target, from their `row_costs` where both have them."""
    theirs = row_costs_of(target) if is_model(drafter) else None
    own = None if theirs is None else row_costs_of(drafter)
    return 0.15 if theirs is None or own is None else own[1] / theirs[1]


def _row_costs(target: Any) -> list[float]:
    """Calls of the target on 0, 1, 2, … rows in calls on one; [] where it has no `row_costs`."""
    costs = row_costs_of(target) or []
    return [cost / costs[1] for cost in costs]
