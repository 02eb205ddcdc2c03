"""The demo: speculative decoding by the native decoder, with the same text as without it.

    python bench/demo.py            SmolLM2: lookup, a drafter with another vocabulary, a tree
    python bench/demo.py --large    Qwen2.5-Coder-1.5B drafted by SmolLM2: the gain of a pair

Models are GGUF files, run as they are; torch is not needed. Exit status 1 where a text that must be
identical is not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from statistics import median
from typing import Any

import models

from anydraft import Generation, SamplingParams, SpeculativeSession
from anydraft.cli.loading import load
from anydraft.cli.report import decode, speedup, stats_table

GREEDY = SamplingParams(temperature=0)
STORY = "The most surprising thing about the history of the bicycle is that"


@dataclass(frozen=True)
class Outcome:
    """One speculative run beside the plain one; all here must have plain decoding's text.

    Attributes:
        timed: whether its speed says something; else it is shown for its text.
    """

    name: str
    generation: Generation
    plain: Generation
    timed: bool = True

    @property
    def identical(self) -> bool:
        return self.generation.tokens == self.plain.tokens

    def __str__(self) -> str:
        texts = "text identical" if self.identical else "TEXTS DIFFER"
        if self.timed:
            return f"{self.name}: {speedup(self.generation, self.plain):.2f} x plain, {texts}"
        stats = self.generation.stats
        return f"{self.name}: {stats.tokens / stats.target_calls:.2f} tokens a call, {texts}"


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
    return 0 if all(outcome.identical for outcome in outcomes) else 1


def demo() -> list[Outcome]:
    """Runs on SmolLM2: the gain by lookup; other vocabularies and trees for their texts."""
    target = load("target", str(models.gguf("smollm2-135m")))
    drafter = load("drafter", str(models.gguf("gemma3-270m")))
    outcomes = []
    for i, prompt in enumerate(models.long_prompts(3), 1):
        request = [{"role": "user", "content": prompt}]
        headline(
            f"1.{i} Prompt lookup, greedy: drafts are what followed the last tokens earlier in the "
            "text"
        )
        print(f"{excerpt(prompt)}\n--")
        lookup = SpeculativeSession(target, "lookup", draft_length=8, sampling=GREEDY)
        outcomes.append(show(f"lookup {i}", lookup, request, 160))

    headline(
        "2. A drafter with another vocabulary (Gemma-270M), greedy, all settings automatic. It is "
        "larger\n   than SmolLM2 and cannot pay: the costs that were measured say so, and drafting "
        "stops.\n   `make demo-large` shows a pair that gains"
    )
    print(f"{STORY} ...\n--")
    automatic = SpeculativeSession(target, drafter, sampling=GREEDY, draft_length="auto")
    outcomes.append(show("another vocabulary, automatic", automatic, STORY, 64))

    headline(
        "3. The same pair made to draft, for the text alone. A tree: 2 for the next token, 2 after "
        "each,\n   then chains"
    )
    print(f"{STORY} ...\n--")
    tree = SpeculativeSession(target, drafter, bridge="tli", tree="2x2x1x1", sampling=GREEDY)
    outcomes.append(show("another vocabulary, a tree", tree, STORY, 64, timed=False))

    headline(
        "4. Sampled at temperature 0.8 with seed 7 (bridge slem: drafts are text, so the text must"
        "\n"
        "   be plain decoding's with that seed, token for token)"
    )
    print(f"{STORY} ...\n--")
    sampling = SamplingParams(temperature=0.8, seed=7)
    sampled = SpeculativeSession(target, drafter, bridge="slem", sampling=sampling)
    outcomes.append(show("another vocabulary, sampled", sampled, STORY, 64, timed=False))
    return summarise(outcomes, "SmolLM2-135M, its Q4_1 file; both sides by the native decoder")


def demo_large() -> list[Outcome]:
    """Qwen2.5-Coder-1.5B drafted by SmolLM2 on HumanEval: settings chosen, then timed."""
    files = [models.gguf(name) for name in ("qwen2.5-coder-1.5b", "smollm2-135m")]
    prompts = models.humaneval_prompts(7)
    target = load("target", str(files[0]))
    drafter = load("drafter", str(files[1]))
    # Chosen on prompts of their own, so that the ratios below are of prompts not seen before.
    headline("Drafts as text of several lengths, tried on two HumanEval prompts")
    best = choose(target, drafter, [prompts.pop(), prompts.pop()])
    headline("Five other prompts, 64 tokens each, greedy")
    outcomes = [show(f"HumanEval {i}", best, prompt, 64) for i, prompt in enumerate(prompts)]
    outcomes = summarise(outcomes, "Qwen2.5-Coder-1.5B, its Q4_K_M file, drafted by SmolLM2")
    ratios = [speedup(outcome.generation, outcome.plain) for outcome in outcomes]
    print(f"median {median(ratios):.2f} x")
    return outcomes


def choose(target: Any, drafter: Any, prompts: list[str]) -> SpeculativeSession:
    """The fastest of some draft lengths."""
    tried = []
    for length, confidence in ((4, 0.3), (6, 0.3), (8, 0.4), (8, 0.6)):
        session = SpeculativeSession(
            target,
            drafter,
            bridge="slem",
            draft_length=length,
            draft_confidence=confidence,
            sampling=GREEDY,
        )
        if not tried:
            session.generate(prompts[0], max_tokens=8)
        runs = [run_whole(session, prompt, 64, shown=False).stats for prompt in prompts]
        speed = sum(run.tokens for run in runs) / sum(run.seconds for run in runs)
        rate = sum(run.accepted for run in runs) / max(sum(run.drafted for run in runs), 1)
        print(
            f"  {length} tokens while the drafter is {confidence:.0%} sure: {speed:.2f} tokens/s, "
            f"{rate:.0%} accepted",
            flush=True,
        )
        tried.append((speed, len(tried), session))
    return max(tried)[2]


def show(
    name: str, session: SpeculativeSession, prompt: Any, tokens: int, *, timed: bool = True
) -> Outcome:
    """Decode speculatively (streamed) and plainly, compare, and print what it cost."""
    plain_session = SpeculativeSession(session.target, sampling=session.sampling)
    session.generate([prompt], max_tokens=8)  # neither side is to pay for first calls
    generation = run_whole(session, prompt, tokens, shown=True)
    plain = run_whole(plain_session, prompt, tokens, shown=False)
    print(f"\n{stats_table([generation, plain])}")
    outcome = Outcome(name, generation, plain, timed)
    print(outcome, flush=True)
    return outcome


def run_whole(session: SpeculativeSession, prompt: Any, tokens: int, *, shown: bool) -> Generation:
    """As `decode`, but Ctrl-C ends the demo."""
    generation = decode(session, prompt, tokens, shown=shown)
    if generation.finish_reason == "cancelled":
        raise KeyboardInterrupt
    return generation


def summarise(outcomes: list[Outcome], what: str) -> list[Outcome]:
    headline(f"Summary ({what}; reading the prompt included)")
    print("\n".join(map(str, outcomes)), flush=True)
    return outcomes


def headline(text: str) -> None:
    print(f"\n==== {text}", flush=True)


def excerpt(text: str) -> str:
    """The first and the last lines of a long prompt."""
    lines = text.splitlines()
    return "\n".join([*lines[:4], f"... {len(lines) - 6} more lines ...", *lines[-2:]])


if __name__ == "__main__":
    sys.exit(main())
