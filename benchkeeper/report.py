"""Draws a run's result, junit, manifest and page from its data. Doing it again gives the same, with what came later added."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from benchkeeper import canary, report_html, results
from benchkeeper.verdicts import read_json, read_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA = 1
PACKAGES = ("ansible-core", "ansible-runner", "jmespath", "pytest", "pytest-testinfra")


@dataclass(frozen=True)
class Run:
    """What a run wrote down. ``events`` are those of its playbook; ``supervisor`` is what the supervisor saw, if there was one."""

    folder: Path
    context: Mapping[str, Any]
    events: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    restored: Mapping[str, Any] | None
    recovered: list[dict[str, Any]] | None
    supervisor: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """The run's identity, also when it ended before it had a context."""
        return str(self.context.get("run_id") or self.folder.name)

    @property
    def mode(self) -> str:
        """The mode, also when the run ended before it had a context."""
        return str(self.context.get("mode") or self.asked.get("mode") or "")

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the supervisor was asked for."""
        return dict(self.supervisor.get("asked") or {})

    @property
    def hosts(self) -> list[str]:
        """Hosts that the run was to lease, also when it ended before it had a context."""
        if self.context.get("hosts"):
            return [str(host["name"]) for host in self.context["hosts"]]
        return [str(name) for name in [*(self.asked.get("miners") or []), self.asked.get("bench")] if name]


def read(folder: Path) -> Run:
    """Read a run's results directory; whatever is missing is empty."""
    work = folder / "work"
    recovered = read_json(work / "recover.json")
    context = read_json(work / "context.json") or {}
    events = read_lines(folder / "events.jsonl")
    verdicts = read_lines(folder / "verdicts.jsonl")
    if (folder / "verdicts.jsonl").is_file():
        verdicts += _missing(context, events, verdicts, read_json(work / "judged.json"))
    return Run(
        folder=folder,
        context=context,
        events=events,
        verdicts=verdicts,
        restored=read_json(work / "restore.json"),
        recovered=recovered if isinstance(recovered, list) else None,
        supervisor=read_json(work / "supervisor.json") or {},
    )


def _missing(
    context: Mapping[str, Any], events: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]], judged: Any
) -> list[dict[str, Any]]:
    """Return an error for each step that was reached and has no verdict, and one when not all verdicts are known to be written."""
    found = []
    known = {str(one.get("id")) for one in verdicts}
    reached = {str(one.get("phase")) for one in events}
    for phase in ("scenario", "lifecycle"):
        steps = context.get(phase) or [] if phase in reached and context.get("mode") == "targeted" else []
        why = "the step was reached and has no verdict"
        found += [(str(one["id"]), str(one.get("title", "")), phase, why) for one in steps if str(one["id"]) not in known]
    if not isinstance(judged, dict) or not judged.get("expected") == judged.get("written") == len(verdicts):
        found.append(("run.all_was_judged", "Every check was judged", "evidence", "the checks did not come to their end"))
    host = str(context.get("bench", ""))
    same = {"verdict": "error", "class": None, "expected": None, "actual": None, "host": host, "step": "", "seconds": 0.0}
    return [{**same, "id": name, "title": title, "phase": phase, "why": why} for name, title, phase, why in found]


def ends(run: Run, hosts: Sequence[str] = ()) -> dict[str, results.HostEnd]:
    """Return how each host of the run came back. One that was only looked at counts when it was looked at before.

    ``hosts`` are the run's when it left nothing that names any.
    """
    if run.mode == "check":
        looked = {path.parent.name for path in run.folder.glob("hosts/*/before.json")}
        return {name: results.host_end(said) for name, said in (run.restored or {}).items() if name in looked}
    names = run.hosts or list(hosts)
    # Who plays without the supervisor need not have the callback; what such a run leased is in its restore.json.
    if results.before_lease(run.events) or not (run.events or run.asked or hosts):
        unknown = []
    elif not any(one.get("phase") == "lease" for one in run.events):
        unknown = list(names)
    else:
        unknown = results.maybe_leased(run.events, names)
    unknown = [name for name in unknown if name not in (run.restored or {})]
    if run.restored is None:
        # The run ended before its own restore: every host that was leased is open until a recovery says otherwise.
        leased = {str(one.get("item")) for one in run.events if one.get("phase") == "lease" and one.get("event") == "item"}
        unknown += [name for name in names if name in leased and name not in unknown and not _refused(run.events, name)]
    return results.hosts_of(run.run_id, run.restored, run.recovered, unknown)


def _refused(events: Sequence[Mapping[str, Any]], host: str) -> bool:
    lease = [one for one in events if one.get("phase") == "lease" and one.get("event") == "item" and one.get("item") == host]
    return bool(lease) and lease[-1].get("status") == "failed" and bool(lease[-1].get("busy"))


def _failure(run: Run) -> dict[str, Any] | None:
    """Return the first failure as the events tell it, with who holds the host as the playbook found out."""
    first = results.first_failure(run.events)
    if first is None:
        return None
    told: Any = {}
    with contextlib.suppress(OSError, ValueError):
        told = json.loads((run.folder / "work" / "failure.json").read_text(encoding="utf-8"))
    busy = told.get("busy") if isinstance(told, dict) else None
    return {**first, **({"busy": busy} if busy else {})}


def facts(run: Run, leaks: Sequence[str]) -> results.Facts:
    """Return what the decision is made from."""
    own = read_json(run.folder / "work" / "own.json")
    return results.Facts(
        counts=results.count(run.verdicts),
        failed_ids=results.red_ids(run.verdicts),
        failure=_failure(run),
        lost=results.lost(run.events),
        fenced=str(run.supervisor.get("lost") or "") or results.fenced(run.events),
        hosts=ends(run),
        keep=bool(run.context.get("keep")),
        signal=int(run.supervisor.get("signal") or 0),
        died=str(run.supervisor.get("died") or ""),
        leaks=tuple(leaks),
        own=tuple(str(one) for one in own) if isinstance(own, list) else (),
    )


def make_result(run: Run, leaks: Sequence[canary.Leak]) -> dict[str, Any]:
    """Return the document of result.json; its keys are stable (docs/reference/results.md)."""
    known = facts(run, [leak.path for leak in leaks])
    decision = results.decide(known)
    red = [*known.failed_ids, *(["secrets.canary.results"] if leaks else [])]
    asked = {name: run.context.get(name) for name in ("stack", "branch", "commit", "mode", "miners", "bench")}
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        **(asked if run.context else {**asked, **dict(run.supervisor.get("asked") or {})}),
        "verdict": decision.verdict,
        "exit_code": decision.exit_code,
        "reason": decision.reason,
        "counts": known.counts,
        "failures": red,
        "skipped": [{"id": one["id"], "class": one.get("class")} for one in run.verdicts if one.get("verdict") == "skip"],
        "restored": {name: end.as_data() for name, end in sorted(known.hosts.items())},
        "phases": results.phases(run.events),
        "seconds": max([float(event.get("s", 0)) for event in run.events] or [0.0]),
        "keeper_seconds": results.keeper_seconds(run.events),
        "waited_seconds": results.waited_seconds(run.events),
        "deployed": run.context.get("mode") != "check",
        "leaks": [{"path": leak.path, "why": leak.why} for leak in leaks],
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _revision(folder: Path) -> dict[str, Any]:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return done.stdout.strip() if done.returncode == 0 else ""

    return {"commit": git("rev-parse", "HEAD") or None, "changed_files": len(git("status", "--porcelain").splitlines())}


def _images(run: Run, name: str) -> dict[str, Any]:
    document = read_json(run.folder / "work" / "snapshots" / f"{name}-{run.context.get('bench')}.json") or {}
    services = document.get("invariant", {}).get("stack", {}).get("services", {})
    return {service: {"image": one.get("image_ref"), "id": one.get("image_id")} for service, one in services.items()}


def _hosts(run: Run) -> dict[str, Any]:
    found = {}
    for host in run.context.get("hosts", []):
        document = read_json(run.folder / "work" / "snapshots" / f"baseline-before-{host['name']}.json") or {}
        disk = document.get("observed", {}).get("disk", {})
        git = document.get("invariant", {}).get("git", {})
        facts_of = {"kind": host.get("kind"), "boot": document.get("boot"), "looked_at": document.get("taken_at")}
        found[host["name"]] = {**facts_of, "disk": disk, "baseline": git}
    return found


def make_manifest(run: Run) -> dict[str, Any]:
    """Return the document of manifest.json: what was under test, with what, on what."""
    names = ("run_id", "stack", "branch", "commit", "mode", "bench", "miners", "workers", "keep", "ttl", "live", "checkout")
    return {
        "schema": SCHEMA,
        **{name: run.context.get(name) for name in (*names, "scenario_name", "overrides", "time_scale", "owner_id")},
        "started": run.events[0].get("at") if run.events else None,
        "ended": run.events[-1].get("at") if run.events else None,
        "controller": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in PACKAGES},
            "benchkeeper": _revision(Path(__file__).parent),
        },
        "hosts": _hosts(run),
        "images": {"baseline": _images(run, "baseline-before"), "branch": _images(run, "deploy-deployed")},
        "phases": results.phases(run.events),
        "files": sorted(str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()),
    }


def make_junit(run: Run, hosts: Mapping[str, results.HostEnd]) -> JUnitXml:
    """Return the run as junit: a suite for each phase, and one for how every host came back."""
    xml = JUnitXml("benchkeeper")
    suites: dict[str, TestSuite] = {}

    def suite(name: str) -> TestSuite:
        return suites.setdefault(name, TestSuite(name))

    for line in run.verdicts:
        place = "-".join(str(line[key]) for key in ("phase", "step") if line.get(key) and line.get(key) != line["id"])
        case = TestCase(str(line["id"]), f"{run.context.get('stack')}.{place}.{line.get('host')}", float(line.get("seconds") or 0))
        word, why = line.get("verdict"), str(line.get("why") or "")
        if word == "fail":
            case.result = [Failure(why, "fail")]
        elif word == "error":
            case.result = [Error(why, "error")]
        elif word == "skip":
            case.result = [Skipped(f"{line.get('class')}: {why}", str(line.get("class")))]
        elif word == "warn":
            case.system_out = f"warning: {why}"
        suite(str(line.get("phase") or "run")).add_testcase(case)
    for name, end in sorted(hosts.items()):
        case = TestCase(f"proof.{name}", f"{run.context.get('stack')}.proof.{name}", end.seconds)
        if not end.proven:
            case.result = [Failure("; ".join(str(one.get("why", one)) for one in end.failures) or end.state, "unproven")]
        suite("proof").add_testcase(case)
    for one in suites.values():
        xml.add_testsuite(one)
    return xml


def _write(path: Path, text: str) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(text, encoding="utf-8")
    temp.replace(path)


def _point_latest(folder: Path) -> None:
    link = folder.parent / "latest"
    temp = folder.parent / f".latest.{os.getpid()}"
    with contextlib.suppress(OSError):
        temp.unlink(missing_ok=True)
        temp.symlink_to(folder.name)
        temp.replace(link)


def render(folder: Path) -> dict[str, Any]:
    """Write every view of a run and return its result. What holds a secret is taken away before and after."""
    run = read(folder)
    state = run.context.get("state_file") or run.supervisor.get("state_file")
    secrets = canary.secrets_of(Path(str(state)) if state else None)
    earlier = read_json(folder / "result.json")
    leaks = [canary.Leak(**one) for one in (earlier or {}).get("leaks") or []]
    if not secrets and earlier is None:
        # What is drawn again after everything is back was searched before; the secrets are gone by then.
        leaks.append(canary.Leak("(not searched)", "the run's secrets are not known, so nothing could be searched for them"))
    if run.supervisor.get("output_leak"):
        leaks.append(canary.Leak("work/ansible.log", str(run.supervisor["output_leak"])))
    leaks = list(dict.fromkeys([*leaks, *canary.gate(folder, secrets)]))
    for _ in range(2):
        run = read(folder)
        result, manifest = make_result(run, leaks), make_manifest(run)
        _write(folder / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        make_junit(run, ends(run)).write(str(folder / "junit.xml"), pretty=True)
        page = report_html.page(result, manifest, run.verdicts, ends(run), read_json(folder / "work" / "canary.json"))
        _write(folder / "report.html", page)
        _write(folder / "result.json", json.dumps(result, indent=1, sort_keys=True) + "\n")
        late = canary.gate(folder, secrets)
        if not late:
            break
        leaks += late
    _point_latest(folder)
    return result


def sentence(result: Mapping[str, Any]) -> str:
    """Return the outcome in one line."""
    return f"{result['verdict']} (exit code {result['exit_code']}): {result['reason']}"


def main(arguments: Sequence[str]) -> int:
    """Render a run; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchkeeper report", description="Draw the report of a run from its data.")
    parser.add_argument("--run-dir", type=Path, required=True, help="results/RUN_ID")
    folder = parser.parse_args(list(arguments)).run_dir.resolve()
    if not folder.is_dir():
        parser.error(f"no such directory: {folder}")
    result = render(folder)
    print(sentence(result))
    return int(result["exit_code"])
