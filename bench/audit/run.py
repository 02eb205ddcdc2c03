"""Audits the verification steps of public packages:  python -m bench.audit.run [PEER...]

Each peer that is installed is played by `anydraft.testing.audit`; what is found wrong is shown
again on the smallest vocabulary where it shows. `--into FILE.json` keeps the results of other peers
that are there (vLLM has an environment of its own) and writes the table beside it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import itertools
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from anydraft import Proposal, SamplingParams, Trees, draw_children, probs
from anydraft.errors import InputError
from anydraft.testing import audit
from bench.audit.report import markdown
from bench.audit.rounds import Rule

PEERS = (
    *("controls", "transformers_peer", "vllm_peer", "flashspec_peer", "economize_peer"),
    *("mini_infer_peer", "seqspecdecod_peer", "specdec_peer", "speculative_decoding_peer"),
    "rotalabs_peer",
)
VOCAB = 50
WRONG = 1e-6  # a p-value below it: by chance once in a million audits


def cases() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Target and draft logits: a good drafter, a bad one, rows that differ from level to level."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(VOCAB, generator=generator) * 1.5
    near = target + torch.randn(VOCAB, generator=generator)
    far = torch.randn(VOCAB, generator=generator) * 2
    rows = torch.randn(5, VOCAB, generator=generator) * 1.5
    return {"near": (target, near), "far": (target, far), "by level": (rows[:3], rows[3:])}


def p_value(rule: Rule, target: torch.Tensor, draft: torch.Tensor, runs: int) -> float:
    """Of the audit; 0 where a token came out that has no mass."""
    torch.manual_seed(1)  # the peers draw from torch's generator
    try:
        found = audit(rule.verify, target, draft, width=rule.width, scheme=rule.scheme, runs=runs)
    except InputError as error:
        if "expected tokens with mass" not in str(error):
            raise
        return 0.0
    return found.p_value


def smallest(rule: Rule, runs: int) -> dict[str, Any] | None:
    """The smallest case whose first token alone is wrong: few tokens first, then few drafts."""
    for vocab, drafted in itertools.product(range(2, 7), (1, 2)):
        for seed in range(3):
            rows = torch.randn(2, vocab, generator=torch.Generator().manual_seed(seed))
            found = first_tokens(rule, rows[:1], rows[1:], drafted, runs)
            if found["deviations"] > 6:
                return found
    return None


def first_tokens(
    rule: Rule, target: torch.Tensor, draft: torch.Tensor, drafted: int, runs: int
) -> dict[str, Any]:
    """Frequencies of the first token of rounds with chains of drafts, beside the target's."""
    plain = SamplingParams(seed=0)
    expected = probs(target, plain)[0].double()
    torch.manual_seed(2)
    counts = torch.zeros(expected.shape, dtype=torch.float64)
    for begin in range(0, runs, 500):
        requests = list(range(begin, min(begin + 500, runs)))
        chains = [
            [
                draw_children(rule.scheme, draft[0], plain, 1, request=request, node=node)[0]
                for node in range(drafted)
            ]
            for request in requests
        ]
        proposals = [Proposal(rule.scheme, 0)] * drafted + [Proposal("one_hot")]
        kept = rule.verify(
            Trees.chains([[0, *chain] for chain in chains]),
            target.expand((drafted + 1) * len(requests), -1),
            proposals=proposals * len(requests),
            draft_logits=draft,
            sampling=plain,
            requests=requests,
            positions=[0] * len(requests),
        )
        for i, chain in enumerate(chains):
            counts[chain[0] if kept.path(i) else kept.next_token[i]] += 1
    error = (expected * (1 - expected) / runs).sqrt()
    return {
        "target": expected.tolist(),
        "draft": probs(draft, plain)[0].tolist(),
        "drafted": drafted,
        "emitted": (counts / runs).tolist(),
        "rounds": runs,
        "deviations": float(((counts / runs - expected).abs() / error).max()),
    }


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        import anydraft

        return anydraft.__version__


def audited(name: str, runs: int) -> list[dict[str, Any]]:
    """The results of one peer's rules.

    Raises:
        ImportError: a package that is not there.
    """
    peer = importlib.import_module(f"bench.audit.peers.{name}")
    found = []
    for rule in peer.rules():
        begin = time.perf_counter()
        values = {case: p_value(rule, *rows, runs) for case, rows in cases().items()}
        wrong = min(values.values()) < WRONG
        found.append(
            {
                "peer": name,
                "package": peer.PACKAGE,
                "version": version(peer.PACKAGE),
                "rule": rule.name,
                "claim": rule.claim,
                "drafts": f"{rule.scheme}, {rule.width} wide",
                "p_values": values,
                "rounds": runs,
                "verdict": "wrong" if wrong else "no fault found",
                "smallest": smallest(rule, runs) if wrong else None,
                "seconds": round(time.perf_counter() - begin, 1),
            }
        )
        print(f"{peer.PACKAGE} {rule.name}: {found[-1]['verdict']}, {values}", flush=True)
    return found


def main() -> int:
    """1 where a rule that is wrong on purpose was not found to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=PEERS, metavar="PEER")
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--into", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {"results": []}
    if args.into and args.into.exists():
        told = json.loads(args.into.read_text())
    for name in args.peers:
        try:
            found = audited(name, args.runs)
        except ImportError as error:
            print(f"{name}: not played ({error})")
            continue
        others = [one for one in told["results"] if one["peer"] != name]
        told["results"] = sorted(others + found, key=lambda one: PEERS.index(one["peer"]))
    told["machine"] = f"Python {platform.python_version()}, torch {torch.__version__}"
    told["commands"] = [
        f"python -m bench.audit.run {peers} --runs {args.runs} --into FILE.json".replace("  ", " ")
        for peers in ("", "vllm_peer")  # the second one in vLLM's own environment
    ]
    if args.into:
        args.into.write_text(json.dumps(told, indent=1) + "\n")
        args.into.with_suffix(".md").write_text(markdown(told))
    return int(any(o["claim"] == "wrong" != o["verdict"] for o in told["results"]))


if __name__ == "__main__":
    sys.exit(main())
