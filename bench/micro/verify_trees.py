"""Tree verification on one CPU thread: in log-sum-exps over the rows it needs, beside torch.

Each case is first checked: the path and next token of a vectorised torch implementation of the same
verifier, float64, from the same uniforms. Then one run times ours, torch's, and bare log-sum-exps
(the exponentials alone) over the rows that must be read.

OMP_WAIT_POLICY=passive python bench/micro/verify_trees.py --out FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from anydraft import Proposal, SamplingParams, Trees, _core, draw_children, set_threads, verify
from anydraft.bench.timing import interleaved, machine

VOCAB, NODES = 151936, 64
PLAIN = SamplingParams(seed=1)


class TorchTree:
    """The generic step of top-down and of traversal over float64 rows, one tensor op a sweep."""

    def __init__(self, trees, target_logits, schemes, draft_logits, accept, pick):
        self.tokens, self.parents = trees.tokens, trees.parents
        self.target, self.draft = target_logits, draft_logits
        self.schemes, self.accept, self.pick = schemes, accept, pick
        self.children = [[] for _ in self.tokens]
        for node, parent in enumerate(self.parents[1:], 1):
            self.children[parent].append(node)

    def proposed(self, node, index, draft):
        """The distribution of child `index`, given its earlier siblings."""
        kind, children = self.schemes[node].kind, self.children[node]
        token = self.tokens[children[index]]
        if kind == "one_hot" or (kind == "spechub" and index == 1):
            return torch.nn.functional.one_hot(torch.tensor(token), draft.shape[0]).double()
        left_out = {"without_replacement": children[:index], "spechub": children[index + 1 :]}
        scheme = draft.clone()
        scheme[[self.tokens[child] for child in left_out.get(kind, [])]] = 0
        return scheme / scheme.sum()

    def rows(self, node):
        target = self.target[node].double().softmax(-1)
        if self.schemes[node].kind == "one_hot":
            return target, target
        return target, self.draft[self.schemes[node].row].double().softmax(-1)

    def emit(self, left, node):
        total = left.cumsum(0)
        return int(torch.searchsorted(total, self.pick[node] * total[-1], right=True))

    def top_down(self):
        node, path = 0, []
        while True:
            left, draft = self.rows(node)
            for index, child in enumerate(self.children[node]):
                scheme = self.proposed(node, index, draft)
                token = self.tokens[child]
                if self.accept[child] * scheme[token] < left[token]:
                    break
                left = (left - scheme).clamp(min=0)
                left = left / left.sum()
            else:
                return path, self.emit(left, node)
            node = child
            path.append(node)

    def traversal(self, node=0, weight=1.0):
        if not self.children[node]:
            if self.accept[node] >= weight:
                return None
            return [node], self.emit(self.target[node].double().softmax(-1), node)
        left, draft = self.rows(node)
        for index, child in enumerate(self.children[node]):
            scheme = self.proposed(node, index, draft)
            token = self.tokens[child]
            offered = min(1.0, float(weight * left[token] / scheme[token]))
            found = self.traversal(child, offered) if offered > 0 else None
            if found:
                return ([node, *found[0]] if node else found[0]), found[1]
            left = (weight * left - scheme).clamp(min=0)
            total = float(left.sum())
            weight = total / (total + (1 - weight))
            left = left / total if total > 0 else left
            if weight == 0:
                break
        if node and self.accept[node] >= weight:
            return None
        return ([node] if node else []), self.emit(left, node)


def tree(shape, kind, draft_logits):
    """A drawn tree of at most NODES nodes: "chain", "star" or "binary"."""
    tokens, parents, schemes = [0], [-1], []
    for node in range(NODES):
        width = {"chain": 1, "binary": 2, "star": NODES - 1 if node == 0 else 0}[shape]
        width = min(width, NODES - len(tokens))
        if node >= len(tokens):
            break
        drawn = kind if width > 1 or kind != "spechub" else "iid"
        children = draw_children(drawn, draft_logits[node], PLAIN, width, node=len(tokens))
        schemes.append(Proposal(drawn, node))
        tokens += children
        parents += [node] * len(children)
    return Trees(tokens, parents, [0, len(tokens)]), schemes


def cases(draft_logits):
    """Name -> (tree, distributions, uniforms), accepting nothing, everything, or as it comes."""
    generator = torch.Generator().manual_seed(3)
    even = torch.rand(NODES, generator=generator, dtype=torch.float64).tolist()
    pick = torch.rand(NODES, generator=generator, dtype=torch.float64).tolist()
    uniforms = {"rejected": [1 - 1e-12] * NODES, "accepted": [1e-12] * NODES, "drawn": even}
    for shape, kind in [
        ("chain", "iid"), ("chain", "one_hot"), ("star", "iid"), ("star", "one_hot"),
        ("binary", "iid"), ("binary", "without_replacement"), ("binary", "spechub"),
    ]:  # fmt: skip
        trees, schemes = tree(shape, kind, draft_logits)
        for name, accept in uniforms.items():
            padded = schemes + [Proposal("one_hot")] * (len(trees.tokens) - len(schemes))
            yield f"{shape} {kind}, {name}", trees, padded, (accept, pick)


def rows_needed(verifier, trees, schemes, path):
    """(target rows, draft rows, rejected drawn siblings) that the limits count."""
    inner = sorted(set(trees.parents[1:]))
    drawn = [node for node in inner if schemes[node].kind != "one_hot"]
    if verifier == "traversal":  # its limit is over all rows
        return list(range(len(trees.tokens))), [schemes[node].row for node in drawn], 0
    visited = [0, *path]
    rejected = 0
    for node in visited:
        if node in drawn:
            children = [c for c, parent in enumerate(trees.parents) if c and parent == node]
            children = children[:1] if schemes[node].kind == "spechub" else children
            kept = [c for c in children if c in path]
            rejected += children.index(kept[0]) if kept else len(children)
    return visited, [schemes[node].row for node in visited if node in drawn], rejected


def measure(name, verifier, trees, schemes, uniforms, rows, seconds):
    """One line of the table; `rows`: target and draft logits of VOCAB tokens and of 64."""
    target, draft, tiny_target, tiny_draft = rows
    nodes = len(trees.tokens)
    options = {
        "sampling": PLAIN, "verifier": verifier, "uniforms": tuple(c[:nodes] for c in uniforms),
    }  # fmt: skip
    small = Trees([t % 64 for t in trees.tokens], trees.parents, trees.offsets)
    certain = [Proposal("one_hot")] * nodes
    peer = TorchTree(trees, target, schemes, draft, *uniforms)

    def ours(_=0):
        return verify(trees, target[:nodes], proposals=schemes, draft_logits=draft, **options)

    def call(_):  # the call itself: lists of Python, a vocabulary of 64
        return verify(
            small, tiny_target[:nodes], proposals=certain, draft_logits=tiny_draft, **options
        )

    kept = ours()
    assert (kept.path(), kept.next_token[0]) == getattr(peer, verifier)(), (name, verifier)
    target_rows, draft_rows, rejected = rows_needed(verifier, trees, schemes, kept.path())

    def bare(_):  # one call a tensor: no overhead of Python's a row
        _core.testing.bare_exponentials(target, 1.0, target_rows)
        _core.testing.bare_exponentials(draft, 1.0, draft_rows)

    times = interleaved(
        {
            "ours": ours,
            "torch": lambda _: getattr(peer, verifier)(),
            "bare": bare,
            "call": call,
        },
        seconds,
    )
    count = len(target_rows) + len(draft_rows)
    own = times["ours"] - times["call"]
    limit = 3 if verifier == "traversal" else 1.5 + 0.5 * rejected / count
    print(
        f"| {name} | {verifier} | {1e6 * own:.0f} | {times['torch'] / own:.1f} | "
        f"{own / times['bare']:.2f} | {limit:.2f} |",
        flush=True,
    )
    return {
        "case": name, "verifier": verifier, "rows": count, "rejected": rejected,
        "accepted": len(kept.path()), "of_bare": own / times["bare"], "limit": limit, **times,
    }  # fmt: skip


def main():
    """Check, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each case")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_threads(1)
    generator = torch.Generator().manual_seed(1)
    target = 3 * torch.randn(NODES, VOCAB, generator=generator)
    draft = target + torch.randn(NODES, VOCAB, generator=generator)
    rows = (target, draft, target[:, :64].contiguous(), draft[:, :64].contiguous())
    print(
        "| case | verifier | us | torch / ours | ours / bare | limit |\n|---|---|---|---|---|---|"
    )
    results = [
        measure(name, verifier, trees, schemes, uniforms, rows, args.seconds)
        for name, trees, schemes, uniforms in cases(draft)
        for verifier in ("top_down", "traversal")
    ]
    if args.out:
        report = {"machine": machine(1), "vocab": VOCAB, "nodes": NODES, "results": results}
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
