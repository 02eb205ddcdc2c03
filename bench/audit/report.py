"""The table of an audit's results."""

from __future__ import annotations

from typing import Any


def verdict(one: dict[str, Any]) -> str:
    """What is said of a rule, beside what it says of itself."""
    if one["verdict"] != "wrong":
        return str(one["verdict"])
    return {"wrong": "caught", "lossy": "lossy, as it says"}.get(one["claim"], "**wrong**")


def markdown(told: dict[str, Any]) -> str:
    """A table of verdicts, and the smallest case of each that is wrong."""
    rounds = told["results"][0]["rounds"]
    lines = [
        "# Audit of verification steps",
        "",
        "Made by bench/audit/run.py: `anydraft.testing.audit` on the code of each package as it is "
        "installed.",
        f"{told['machine']}. {rounds} rounds a case and depth; three cases: a drafter near the "
        "target, one far",
        "from it, and rows that differ from level to level; 50 tokens, temperature 1. A rule is "
        "called wrong where",
        "the p-value of its emitted tokens under the target's distribution is below 1e-6.",
        "",
        "| package | version | what is played | drafts | its claim | smallest p-value | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in told["results"]:
        value = min(one["p_values"].values())
        lines.append(
            f"| {one['package']} | {one['version']} | {one['rule']} | {one['drafts']} "
            f"| {one['claim']} | {value:.2g} | {verdict(one)} |"
        )
    lines += ["", "## Smallest cases", ""]
    for one in told["results"]:
        case = one["smallest"]
        if one["verdict"] == "wrong" and case is None:
            lines.append(f"- {one['package']}, {one['rule']}: none with up to 6 tokens.")
        if case is not None:
            target, draft, emitted = (
                ", ".join(f"{x:.4f}" for x in case[name]) for name in ("target", "draft", "emitted")
            )
            lines.append(
                f"- {one['package']}, {one['rule']}: {len(case['target'])} tokens, "
                f"{case['drafted']} drafted. Target {target}; draft {draft}; emitted first "
                f"{emitted} in {case['rounds']} rounds, {case['deviations']:.0f} standard errors "
                "off."
            )
    return "\n".join(lines) + "\n"
