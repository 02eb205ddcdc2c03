"""`Drafter.verify` on fewer nodes than a draft has: lossless, or refused."""

import numpy as np
import pytest
import torch
from toys import constant, letters

from anydraft import Drafter, InputError, SamplingParams
from anydraft.testing import chi_square

ABCD = letters(b"a", b"b", b"c", b"d")
MASSES = np.array([0.1, 0.1, 0.3, 0.5])
TREE_VERIFIERS = ("top_down", "traversal")


@pytest.mark.parametrize(
    ("scheme", "tree", "made_for", "judges", "refused"),
    [
        ("iid", "3", "auto", (*TREE_VERIFIERS, "kseq"), ()),
        ("iid", "3", "auto", ("multipath",), (1, 2)),
        ("without_replacement", "3", "auto", TREE_VERIFIERS, ()),
        ("spechub", "2", "auto", TREE_VERIFIERS, (1,)),
        ("greedy_k", "3", "auto", TREE_VERIFIERS, (1, 2)),
        ("iid", "3", "multipath", ("multipath",), "siblings"),
        ("iid", "3", "multipath", (*TREE_VERIFIERS, "kseq"), "always"),
    ],
)
def test_siblings_are_cut_only_where_that_is_lossless(scheme, tree, made_for, judges, refused):
    drafter = constant(ABCD, [0.4, 0.3, 0.2, 0.1])
    one = Drafter(ABCD, drafter, bridge="same", tree=tree, scheme=scheme, verifier=made_for)
    runs = 6000
    params = [SamplingParams(seed=i) for i in range(runs)]
    drafts = one.propose(range(runs), [[0]] * runs, params, 1)
    sizes = [len(draft.tokens) for draft in drafts]
    for verifier in judges:
        for length in range(int(tree) + 1):

            def verify(ids, length=length, verifier=verifier):
                lengths = [min(length, sizes[i] - 1) for i in ids]
                rows = np.tile(np.log(MASSES, dtype=np.float32), (sum(lengths) + len(ids), 1))
                own, keys = [params[i] for i in ids], {"requests": [0] * len(ids)}
                keys["positions"] = [1] * len(ids)
                kept = one.verify(ids, lengths, rows, own, verifier=verifier, **keys)
                assert not any(kept.status)
                first = [
                    drafts[i].tokens[p[0]] if (p := kept.path(n)) else kept.next_token[n]
                    for n, i in enumerate(ids)
                ]
                return np.bincount(first, minlength=4)

            if refused == "always" or (refused != "siblings" and length in refused):
                with pytest.raises(InputError, match=r"siblings together|were merged"):
                    verify(range(runs))
            elif refused == "siblings" and 0 < length < int(tree):
                for i in range(50):
                    if length < sizes[i] - 1:
                        with pytest.raises(InputError, match="siblings together with verifier"):
                            verify([i])
            else:
                counts, masses = map(torch.from_numpy, (verify(range(runs)), MASSES))
                assert chi_square(counts, masses).p_value > 1e-3, (verifier, length)
