"""`anydraft generate`: decode prompts, show where each token came from and what it cost."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anydraft import Generation, InputError, SamplingParams, SpeculativeSession
from anydraft.cli.compare import Comparison, compare
from anydraft.cli.report import decode, speedup, stats_table
from anydraft.cli.session import (
    add_sampling_options,
    add_session_options,
    make_session,
    sampling_of,
)
from anydraft.cli.terminal import for_stdout, legend, say, wants_colour


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "generate",
        help="decode prompts speculatively",
        description="Decode prompts with a drafter; each text has exactly the target's "
        "distribution.",
    )
    option = parser.add_argument
    option(
        "--target", required=True, metavar="MODEL", help="GGUF file, folder or name of the model"
    )
    option("--drafter", required=True, metavar="MODEL", help="file, folder, name, lookup, or none")
    option(
        "--prompt",
        required=True,
        action="append",
        metavar="TEXT",
        help="text, @file, or - for stdin; given several times: decoded together",
    )
    option("--chat", action="store_true", help="send the prompt through the target's template")
    add_sampling_options(option, temperature=0.0)
    option("--max-tokens", type=int, default=256, metavar="N")
    option("--stop", action="append", default=[], metavar="TEXT", help="ends a text before this")
    add_session_options(parser)
    option("--compare", action="store_true", help="also decode plainly: speed-up, equal texts")
    option("--json", action="store_true", help="print one JSON object at the end instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decode, report, and return the exit status."""
    prompts = [_read_prompt(text, args.chat) for text in args.prompt]
    if len(prompts) > 1 and args.compare:
        raise InputError(f"[generate] expected one --prompt with --compare, got {len(prompts)}")
    # With a seed of its own, so that both decodings of --compare have it and --json can name it.
    sampling = sampling_of(args).with_seed()
    session = make_session(args, sampling)
    if len(prompts) > 1:
        return _together(args, session, prompts)
    prompt = prompts[0]
    if args.compare:  # the first call of a model is slow, and neither side is to pay for it
        session.generate([prompt], max_tokens=min(16, args.max_tokens))
    generation = decode(session, prompt, args.max_tokens, stop=args.stop, shown=not args.json)
    plain, comparison = None, None
    if args.compare and generation.finish_reason != "cancelled":
        say("decoding plainly for comparison ...")
        prompt_ids = _prompt_of(session)
        plain_session = SpeculativeSession(session.target, sampling=sampling)
        plain = decode(plain_session, prompt, args.max_tokens, stop=args.stop, shown=False)
        if plain.finish_reason != "cancelled":
            texts = (generation.tokens, plain.tokens)
            comparison = compare(session.target, prompt_ids, *texts, session.bridge, sampling)
    _report(args, sampling, generation, plain, comparison)
    if "cancelled" in (generation.finish_reason, plain.finish_reason if plain else None):
        return 130
    return 0 if comparison is None or comparison.lossless else 1


def _together(args: argparse.Namespace, session: SpeculativeSession, prompts: list[Any]) -> int:
    """Several prompts, shown when all have ended or at Ctrl-C."""
    interrupted, failure = False, None
    try:
        session.generate(prompts, max_tokens=args.max_tokens, stop=args.stop)
    except KeyboardInterrupt:
        interrupted = True
        for run in session.runs:
            run.cancel()
    except Exception as error:  # of one of them: the others have ended
        if not any(run.ended for run in session.runs):
            raise
        failure = error
    generations = [run.generation for run in session.runs]
    if args.json:
        result = {"seed": session.sampling.seed, "generations": [*map(_described, generations)]}
        print(json.dumps(result, ensure_ascii=False))
    else:
        for i, generation in enumerate(generations):
            print(f"--- prompt {i + 1}\n{for_stdout(generation.text)}")
        say("\n" + stats_table(generations))
        if interrupted:
            say("interrupted")
    if failure is not None:
        raise failure
    return 130 if interrupted else 0


def _read_prompt(text: str, chat: bool) -> Any:
    """Text or chat messages, as `generate` takes them."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = Path(text[1:]).expanduser().read_text("utf-8")
    return [{"role": "user", "content": text}] if chat else text


def _prompt_of(session: SpeculativeSession) -> list[int]:
    return session.last.prompt if session.last else []


def _report(
    args: argparse.Namespace,
    sampling: SamplingParams,
    generation: Generation,
    plain: Generation | None,
    comparison: Comparison | None,
) -> None:
    if args.json:
        print(json.dumps(_json(sampling, generation, plain, comparison), ensure_ascii=False))
        return
    say("\n" + stats_table([run for run in (generation, plain) if run]))
    if plain and comparison:
        say(f"speed-up {speedup(generation, plain):.2f} x; {comparison}")
    if wants_colour(sys.stdout) and wants_colour(sys.stderr) and args.drafter != "none":
        say(f"colours: {legend()}")
    if generation.finish_reason == "cancelled":
        say("interrupted")


def _json(
    sampling: SamplingParams,
    generation: Generation,
    plain: Generation | None,
    comparison: Comparison | None,
) -> dict[str, Any]:
    result = _described(generation) | {"seed": sampling.seed}
    if plain:
        result["plain"] = _described(plain)
    if plain and comparison:
        result["speedup"] = speedup(generation, plain)
        result["identical"] = comparison.identical
        result["must_be_identical"] = comparison.required
        result["near_tie"] = comparison.near_tie
        result["comparison"] = str(comparison)
    return result


def _described(generation: Generation) -> dict[str, Any]:
    stats = generation.stats
    derived = ("acceptance_rate", "accepted_per_call", "tokens_per_second", "overhead")
    return {
        "text": generation.text,
        "tokens": generation.tokens,
        "finish_reason": generation.finish_reason,
        "stats": asdict(stats) | {name: getattr(stats, name) for name in derived},
    }
