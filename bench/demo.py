"""The demo: speculative decoding on real models, with the same text as without it.

    python bench/demo.py            SmolLM2, prompt lookup and a drafter with another vocabulary
    python bench/demo.py --large    Qwen2.5-Coder-1.5B drafted by SmolLM2: the gain

Exit status 1 where a text that must be identical is not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from statistics import median
from typing import Any

import models

from anydraft import Generation, SamplingParams, SpeculativeSession
from anydraft.cli.compare import Comparison, compare
from anydraft.cli.loading import load
from anydraft.cli.report import decode, speedup, stats_table

GREEDY = SamplingParams(temperature=0)
STORY = "The most surprising thing about the history of the bicycle is that"


@dataclass(frozen=True)
class Outcome:
    """One speculative run beside the plain one."""

    name: str
    generation: Generation
    plain: Generation
    comparison: Comparison

    def __str__(self) -> str:
        ratio = speedup(self.generation, self.plain)
        return f"{self.name}: {ratio:.2f} x plain decoding, {self.comparison}"


def main() -> int:
    parser = argparse.ArgumentParser(description="speculative decoding on real models")
    parser.add_argument("--large", action="store_true", help="fetches 1.2 GB and takes longer")
    large = parser.parse_args().large
    try:
        outcomes = demo_large() if large else demo()
    except models.Unavailable as error:
        print(f"SKIPPED, a model cannot be had: {error}", flush=True)
        return 0 if large else 3
    except KeyboardInterrupt:
        return 130
    return 0 if all(outcome.comparison.lossless for outcome in outcomes) else 1


def demo() -> list[Outcome]:
    """Three runs on SmolLM2."""
    target = load("target", str(models.fetch("smollm2-135m")), pack=True)
    drafter = load("drafter", str(models.fetch("gemma3-270m")), pack=True)
    request = [{"role": "user", "content": models.long_prompts(1)[0]}]

    headline(
        "1. Prompt lookup, greedy: drafts are what followed the last tokens earlier in the text"
    )
    print(f"{excerpt(request[0]['content'])}\n--")
    lookup = SpeculativeSession(target, "lookup", draft_length=8, sampling=GREEDY)
    outcomes = [show("prompt lookup, greedy", lookup, request, 96)]

    headline(
        "2. A drafter with another vocabulary (Gemma-270M, bridge tli), greedy. This pair shows\n"
        "   correctness, not speed: the drafter is larger than its target"
    )
    print(f"{STORY} ...\n--")
    tli = SpeculativeSession(target, drafter, bridge="tli", sampling=GREEDY)
    outcomes.append(show("another vocabulary, greedy (for correctness)", tli, STORY, 48))

    headline(
        "3. The same, sampled at temperature 0.8 with seed 7 (bridge slem: drafts are text, so\n"
        "   the result must be plain decoding's with that seed, token for token)"
    )
    print(f"{STORY} ...\n--")
    sampling = SamplingParams(temperature=0.8, seed=7)
    slem = SpeculativeSession(target, drafter, bridge="slem", sampling=sampling)
    outcomes.append(show("another vocabulary, sampled (for correctness)", slem, STORY, 48))

    headline("Summary (both sides on the same packed model, prefill included)")
    print("\n".join(map(str, outcomes)), flush=True)
    return outcomes


def demo_large() -> list[Outcome]:
    """Qwen2.5-Coder-1.5B drafted by SmolLM2 on HumanEval: bridge and length chosen, then timed."""
    folders = [models.fetch(name) for name in ("qwen2.5-coder-1.5b", "smollm2-135m")]
    prompts = models.humaneval_prompts(5)
    target = load("target", str(folders[0]), pack=True)
    drafter = load("drafter", str(folders[1]), pack="int4")
    # Chosen on a prompt of its own, so that the ratios below are of prompts it has not seen.
    headline("Bridges and draft lengths, tried on one HumanEval prompt")
    best = choose(target, drafter, prompts.pop())
    headline(
        f"Four other prompts, 64 tokens each, greedy: {best.bridge}, {best.draft_length} a round"
    )
    name = f"HumanEval, {best.bridge}"
    outcomes = [show(f"{name} {i}", best, prompt, 64) for i, prompt in enumerate(prompts)]
    headline("Summary (Qwen2.5-Coder-1.5B, packed, drafted by SmolLM2 in 4 bits; prefill included)")
    ratios = [speedup(outcome.generation, outcome.plain) for outcome in outcomes]
    print("\n".join(map(str, outcomes)))
    print(f"median {median(ratios):.2f} x with {best.bridge}, draft length {best.draft_length}")
    return outcomes


def choose(target: Any, drafter: Any, prompt: str) -> SpeculativeSession:
    """The fastest of slem and tli at draft lengths up to 3 to 8."""
    tried = []
    for bridge in ("slem", "tli"):
        for length in (3, 5, 8):
            session = SpeculativeSession(
                target,
                drafter,
                bridge=bridge,  # type: ignore[arg-type]
                draft_length=length,
                sampling=GREEDY,
            )
            if not tried:
                session.generate([prompt], max_tokens=2)
            stats = decode(session, prompt, 64, shown=False).stats
            print(
                f"  {bridge} {length}: {stats.tokens_per_second:.2f} tokens/s, "
                f"{stats.acceptance_rate:.0%} accepted",
                flush=True,
            )
            tried.append((stats.tokens_per_second, len(tried), session))
    return max(tried)[2]


def show(name: str, session: SpeculativeSession, prompt: Any, tokens: int) -> Outcome:
    """Decode speculatively (streamed) and plainly, compare, and print what it cost."""
    plain_session = SpeculativeSession(session.target, sampling=session.sampling)
    session.generate([prompt], max_tokens=2)  # neither side is to pay for first calls
    generation = run_whole(session, prompt, tokens, shown=True)
    plain = run_whole(plain_session, prompt, tokens, shown=False)
    assert plain_session.last is not None
    start = plain_session.last.prompt
    comparison = compare(
        session.target, start, generation.tokens, plain.tokens, session.bridge, session.sampling
    )
    print(f"\n{stats_table([generation, plain])}")
    outcome = Outcome(name, generation, plain, comparison)
    print(outcome, flush=True)
    return outcome


def run_whole(session: SpeculativeSession, prompt: Any, tokens: int, *, shown: bool) -> Generation:
    """As `decode`, but Ctrl-C ends the demo."""
    generation = decode(session, prompt, tokens, shown=shown)
    if generation.finish_reason == "cancelled":
        raise KeyboardInterrupt
    return generation


def headline(text: str) -> None:
    print(f"\n==== {text}", flush=True)


def excerpt(text: str) -> str:
    """The first and the last lines of a long prompt."""
    lines = text.splitlines()
    return "\n".join([*lines[:4], f"... {len(lines) - 6} more lines ...", *lines[-2:]])


if __name__ == "__main__":
    sys.exit(main())
