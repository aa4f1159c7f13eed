"""The page a person reads first: is the branch good, is everything back, and then the evidence for both."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchkeeper.results import HostEnd

# What a reader takes from the word, and how loud it is.
ANSWERS = {
    "good": ("Yes", "good"),
    "bad": ("No", "bad"),
    "unfit": ("Not judged: the bench is not fit", "unsure"),
    "busy": ("Not judged: somebody else has the bench", "unsure"),
    "usage": ("Not judged: the request cannot be meant", "unsure"),
    "interrupted": ("Not judged: the run was interrupted", "unsure"),
}
ORDER = ("error", "fail", "warn", "skip", "pass")
_SHOWN = 2000  # characters of a value


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def branch_answer(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to answer to "is the branch good?" and how loud."""
    counts = result["counts"]
    if result.get("mode") == "check" and result["verdict"] in ("good", "bad"):
        word = "The bench is good" if result["verdict"] == "good" else "The bench is not good"
        return f"{word}; the branch was not deployed", result["verdict"]
    if result["verdict"] in ("unproven", "kept"):
        red = counts["fail"] + counts["error"]
        if red:
            return "No", "bad"
        return ("Yes", "good") if counts["pass"] else ("Not judged", "unsure")
    return ANSWERS.get(result["verdict"], ("Not judged", "unsure"))


def back_answer(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to answer to "is everything back?" and how loud."""
    hosts = result["restored"]
    if not hosts:
        return "Yes: nothing was changed", "good"
    open_hosts = sorted(name for name, end in hosts.items() if not end["proven"])
    if not open_hosts:
        return ("Yes, proven" if result.get("mode") != "check" else "Yes: nothing was changed, looked at twice"), "good"
    if result["verdict"] == "kept":
        return f"Kept as asked: {', '.join(open_hosts)}", "unsure"
    return f"NOT proven: {', '.join(open_hosts)}", "bad"


def advice(result: Mapping[str, Any]) -> str:
    """Return what the reader should do next; empty when there is nothing to do."""
    if result["verdict"] in ("unproven", "kept"):
        return f"./bench recover --run {result['run_id']}"
    if result["verdict"] == "busy":
        return "./bench status shows who has it; --wait SECONDS waits for it"
    if result["verdict"] == "unfit":
        return "Repair what the reason names, then run again. The branch was not judged."
    return ""


def groups(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the verdict lines by look, each group with its counts, the red ones first inside."""

    def place(line: Mapping[str, Any]) -> str:
        step = line.get("step") if line.get("step") != line.get("id") else ""
        return " · ".join(str(part) for part in (line.get("phase") or "run", step, line.get("host")) if part)

    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault(place(line), []).append(line)
    result = []
    for name, members in found.items():
        ordered = sorted(members, key=lambda line: (ORDER.index(str(line["verdict"])), str(line["id"])))
        counts = {word: len(list(some)) for word, some in groupby(ordered, key=lambda line: str(line["verdict"]))}
        result.append({"name": name, "lines": [_line(line) for line in ordered], "counts": counts})
    return result


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "expected": _text(line.get("expected")), "actual": _text(line.get("actual"))}


def timeline(phases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the phases with where their bar starts and how wide it is, in percent of the run."""
    if not phases:
        return []
    first = float(phases[0]["started"])
    total = max(float(phases[-1]["started"]) + float(phases[-1]["seconds"]) - first, 0.001)
    return [
        {
            **phase,
            "left": round(100 * (float(phase["started"]) - first) / total, 2),
            "width": max(round(100 * float(phase["seconds"]) / total, 2), 0.4),
        }
        for phase in phases
    ]


def page(
    result: Mapping[str, Any],
    manifest: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    hosts: Mapping[str, HostEnd],
    searched: Mapping[str, Any] | None,
) -> str:
    """Return the page; self-contained, no scripts, nothing loaded from anywhere.

    Args:
        result: The document of result.json.
        manifest: The document of manifest.json.
        lines: Verdict lines.
        hosts: How each host came back, with the items of its journal.
        searched: Hosts whose logs were searched for the planted secret, with what was found.
    """
    environment = Environment(
        loader=PackageLoader("benchkeeper"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = _text
    red = [_line(line) for line in lines if line["verdict"] in ("fail", "error")]
    return environment.get_template("report.html.j2").render(
        result=result,
        manifest=manifest,
        branch=branch_answer(result),
        back=back_answer(result),
        advice=advice(result),
        red=red,
        warned=[_line(line) for line in lines if line["verdict"] == "warn"],
        skipped=[_line(line) for line in lines if line["verdict"] == "skip"],
        groups=groups(lines),
        timeline=timeline(result["phases"]),
        hosts=hosts,
        searched=searched or {},
    )
