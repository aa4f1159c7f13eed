"""`./bench coherence`: the lists of environment names compared with what stands anywhere. Thin: reads, compares, prints."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkeeper import coherence, env_settings, env_sources, environment, located
from benchkeeper.errors import UsageError
from benchkeeper.located import BrokenFileError, Mistake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchkeeper.env_found import Given
    from benchkeeper.paths import Paths

SCHEMA = 1
_TIMEOUT = 10.0  # seconds
_LIMIT = located.LIMIT


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Only the address that was named is asked."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(url: str) -> tuple[str, str]:
    """Return (text, address without credentials and query) of a list that the user named by its address.

    Raises:
        UsageError: it cannot be had.
    """
    parts = urllib.parse.urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    try:
        with urllib.request.build_opener(_NoRedirect).open(url, timeout=_TIMEOUT) as answer:
            raw = answer.read(_LIMIT + 1)
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer, too, with a connection
        raise UsageError(f"{shown} answers {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(f"{shown} cannot be had: {reason}") from None
    if len(raw) > _LIMIT:
        raise UsageError(f"{shown} is larger than {_LIMIT} bytes")
    try:
        return raw.decode("utf-8"), shown
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is not UTF-8") from None


def production(named: str) -> tuple[list[Given], str]:
    """Return the names of a production list, a file or an address, and how it is called in messages."""
    if named.startswith(("http://", "https://")):
        text, name = fetch(named)
    else:
        text, name = located.read_text(Path(named), named), named
    return env_settings.production(text, name), name


def examine(paths: Paths, stack: str, named: str | None) -> coherence.Report:
    """Compare one stack.

    Args:
        paths: The checkout.
        stack: A stack with a list.
        named: Production list that the user named; None for the list's own, if it has one.

    Raises:
        BrokenFileError: a file cannot be read.
        UsageError: there is nothing to compare, or the named list cannot be had.
    """
    folder = paths.stacks / stack
    listed = environment.read(folder / environment.FILE, env_sources.shown(folder / environment.FILE, paths.root))
    found = env_sources.gather(listed, folder, paths.root)
    own = listed.list.production.file if listed.list.production else ""
    names, file = None, ""
    if named is not None:
        names, file = production(named)
    elif own:
        file = env_sources.shown(folder / own, paths.root)
        names = env_settings.production(located.read_text(folder / own, file), file)
    report = coherence.compare(stack, listed, found, names, file)
    if not sum(count for key, count in report.compared.items() if key != "names"):
        raise UsageError(f"{listed.document.name} names nothing to compare with: no sources, no code, no production list")
    return report


def _told(report: coherence.Report) -> str:
    done = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in report.compared.items() if count)
    left = ", ".join(f"{count} of {reader}" for reader, count in report.not_judged.items())
    count = len(report.findings)
    verdict = f"{count} finding{'s' if count != 1 else ''}" if count else "coherent"
    return f"{report.stack}: {verdict} ({done}){f'; names whose only reader is elsewhere: {left}' if left else ''}"


def run(paths: Paths, stacks: Sequence[str], named: str | None, *, as_json: bool) -> int:
    """Compare stacks and print what was found; 0 when all are coherent, 1 on drift, 2 when a file cannot be read."""
    reports: list[coherence.Report] = []
    broken: list[Mistake] = []
    for stack in stacks:
        try:
            reports.append(examine(paths, stack, named))
        except BrokenFileError as error:  # noqa: PERF203 - the mistakes of every stack are told
            broken += error.mistakes
    if as_json:
        mistakes = [vars(one) for one in sorted(broken)]
        print(json.dumps({"schema": SCHEMA, "stacks": [one.as_data() for one in reports], "mistakes": mistakes}, indent=1))
    else:
        for mistake in sorted(broken):
            print(mistake)
        for report in reports:
            for finding in report.findings:
                print(finding)
            print(_told(report))
    if broken:
        return 2
    return 1 if any(report.findings for report in reports) else 0
