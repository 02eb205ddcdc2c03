"""`anydraft vllm-config`: what vLLM is started with to serve a target with this drafter."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from anydraft import VocabularyMap
from anydraft.bridges import NAMES
from anydraft.cli.session import confidence_or_auto
from anydraft.cli.terminal import say
from anydraft.errors import InputError
from anydraft.vllm.batch_drafter import choose_bridge
from anydraft.vllm.checks import PROPOSER, WORKERS
from anydraft.vllm.options import VERIFIERS, Options
from anydraft.vllm.target import read_vocabulary


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "vllm-config",
        help="the configuration with which vLLM serves a target with a drafter",
        description="Prints a command of vLLM. Vocabularies on this disk are checked first.",
    )
    option = parser.add_argument
    option("--target", required=True, metavar="MODEL", help="as vLLM takes it")
    option("--drafter", required=True, metavar="MODEL", help="or lookup, or text:module:function")
    option("--num-speculative-tokens", type=int, default=4, metavar="N")
    option(
        "--worker",
        choices=["none", *WORKERS],
        default="none",
        help="none: vLLM's own sampler, with drafts that are certain; cpu, gpu: ours",
    )
    option("--bridge", choices=NAMES)
    option("--verifier", choices=VERIFIERS)
    option("--draft-length", type=int, metavar="N", help="drafter tokens of a round")
    option("--draft-confidence", type=confidence_or_auto, metavar="P")
    option("--backend", choices=["auto", "native", "hf"], help="of the drafter")
    option("--device", help="of the drafter")
    option("--weights", help="of a native drafter: int8, int4, ...")
    option("--cache-tokens", type=int, metavar="N", help="most text the drafter keeps caches of")
    option("--greedy-only", action="store_const", const=True, help="all requests are greedy")
    option("--json", action="store_true", help="print arguments of vllm.LLM instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print."""
    config = configuration(args)
    if args.json:
        print(json.dumps(config, indent=2))
        return 0
    lines = [f"vllm serve {shlex.quote(config.pop('model'))}"]
    for name, value in config.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    print(" \\\n  ".join(lines))
    return 0


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `vllm.LLM`.

    Raises:
        InputError, VocabularyError: what the plug-in would refuse as it starts.
    """
    if args.num_speculative_tokens < 1:
        raise InputError(
            "[vllm-config] expected --num-speculative-tokens >= 1, got "
            f"{args.num_speculative_tokens}"
        )
    names = [field.name for field in fields(Options)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    options, exact = Options.read(given), args.worker != "none"
    if args.verifier is not None and not exact:
        raise InputError("[vllm-config] expected --worker cpu or gpu with --verifier, got none")
    _check_pair(args.target, options, exact=exact)
    config = {
        "model": args.target,
        "speculative_config": {
            "method": "custom_class",
            "model": PROPOSER,
            "num_speculative_tokens": args.num_speculative_tokens,
        },
        "additional_config": {"anydraft": given},
    }
    return {**config, "worker_cls": WORKERS[args.worker]} if exact else config


def _check_pair(target: str, options: Options, *, exact: bool) -> None:
    drafter = None
    needed = [target, options.drafter] if options.has_model else [target]
    if missing := [name for name in needed if not Path(name).expanduser().exists()]:
        say(f"not checked, not on this disk: {', '.join(missing)}")
        return
    vocabulary = read_vocabulary(target)
    if options.has_model:
        drafter = read_vocabulary(options.drafter)
        shared = VocabularyMap(drafter, vocabulary).shared
        say(f"shared tokens: {shared} of the drafter's {drafter.size}")
    bridge = choose_bridge(options, vocabulary, drafter, exact=exact)
    say(f"bridge {bridge}, judged by {'anydraft' if exact else 'vLLM'}")
