"""Every bridge with every stop rule, tree, sampling scheme and verifier it takes: exact, and no key
of a random number decides twice (the enumerating source refuses a key that repeats)."""

import itertools

import pytest
from toys import TableModel

from anydraft import SamplingParams, _testing, verifiers
from anydraft.drafts import PROPOSAL_KINDS
from tests.distributions.sessions import check, words

SAMPLED = SamplingParams(temperature=1.2)
BRIDGES = {
    "same": [{}],
    "tli": [{}],
    "slem": [{}, {"draft_sampling": SAMPLED}],
    "slrs": [
        {},
        {"stop_tokens": 2, "draft_budget": 12},
        {"stop_tokens": 0, "draft_budget": 9},
    ],
    "auto": [{}],
}
TREES = {
    "chain": {"draft_length": 2},
    "two paths": {"widths": [2, 1]},
    "branching late": {"widths": [1, 2]},
    "dynamic": {"widths": [2], "max_nodes": 3, "depth": 2, "beam": 1},
}


def fits(verifier, scheme, tree, bridge):
    if ("one_hot" if bridge == "slem" else scheme) not in verifier["proposals"].split(", "):
        return False
    if verifier["shapes"] == "chain":
        return tree == "chain" and bridge != "slem"  # its strings may part as target tokens
    return verifier["name"] != "multipath" or tree in ("chain", "two paths")


def combinations():
    schemes = [scheme for scheme in PROPOSAL_KINDS if scheme not in ("one_hot", "sparse")]
    for bridge, tree, verifier in itertools.product(BRIDGES, TREES, verifiers()):
        for number, rule in enumerate(BRIDGES[bridge]):
            for scheme in ["iid"] if bridge == "slem" else schemes:
                if fits(verifier, scheme, tree, bridge):
                    yield pytest.param(
                        bridge,
                        {**rule, **TREES[tree], "scheme": PROPOSAL_KINDS[scheme]},
                        verifier["name"],
                        id=f"{bridge} {number}, {tree}, {scheme}, {verifier['name']}",
                    )


def pair(bridge):
    target = words("a", "b", "ab")
    drafter = target if bridge == "same" else words("a", "ab", "b")
    return TableModel(target, 3), TableModel(drafter, 104)


@pytest.mark.parametrize(("bridge", "options", "verifier"), list(combinations()))
def test_every_combination(bridge, options, verifier):
    check(*pair(bridge), SAMPLED, bridge=bridge, verifier=verifier, **options)


def test_a_key_that_repeats_is_refused():
    """Two draws of one key: the source that enumerates must not take them for independent."""
    branches = _testing.Branches()
    branches.use(0, 5, 1, 0, 0)
    branches.use(0, 5, 1, 0, 1)
    with pytest.raises(RuntimeError, match="a key that is used once"):
        branches.use(0, 5, 1, 0, 0)
    branches.restart()
    branches.use(0, 5, 1, 0, 0)
