"""What speculation can gain: acceptance rates, expected tokens, walltime, and the distance to the
best acceptance that is possible with the same drafts.

Rows are distributions over one vocabulary, [vocab], as anything numpy reads (lists, arrays,
tensors on the CPU); they are normalised in float64. Costs are in units of one plain decoding step
of the target. Needs numpy, but only when a function that takes rows is called; `transport_lp`
needs scipy too.

Sources: Leviathan et al. 2023 (arXiv 2211.17192) for chains; SpecTr (arXiv 2310.15141) for K-SEQ;
SpecHub (arXiv 2411.05289) for the hub distribution and the transport problem.
"""

from anydraft.theory.chains import (
    best_draft_length,
    expected_tokens,
    operations_factor,
    walltime_improvement,
)
from anydraft.theory.rows import SCHEMES
from anydraft.theory.siblings import acceptance, acceptance_rate, accepted_mass, kseq_rho
from anydraft.theory.transport import draft_sets, gap, optimal_acceptance, transport_lp

__all__ = [
    "SCHEMES",
    "acceptance",
    "acceptance_rate",
    "accepted_mass",
    "best_draft_length",
    "draft_sets",
    "expected_tokens",
    "gap",
    "kseq_rho",
    "operations_factor",
    "optimal_acceptance",
    "transport_lp",
    "walltime_improvement",
]
