"""String-level rejection sampling with general stop rules: exact laws of whole sessions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TableModel, constant

from anydraft import InputError, SamplingParams, _core
from anydraft.drafts import LAW_KINDS
from tests.laws.sessions import (
    FILTERED,
    GREEDY,
    PAIRS,
    PLAIN,
    PROMPT,
    check,
    exact_law,
    largest_difference,
    models,
    play,
    words,
)
from tests.reference import stop_rules

ENOUGH = 10**6  # rows: the rule alone decides
SETTLED = 0
RULES = {
    "two": {"stop_tokens": 2, "draft_budget": ENOUGH},
    "three, few rows": {"stop_tokens": 3, "draft_budget": 6},
    "settled, few rows": {"stop_tokens": SETTLED, "draft_budget": 9},
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("params", [PLAIN, FILTERED, GREEDY], ids=["plain", "filtered", "greedy"])
@pytest.mark.parametrize("rule", RULES)
def test_chains(name, params, rule):
    check(*models(name), params, **RULES[rule])
