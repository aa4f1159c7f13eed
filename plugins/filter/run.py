"""Filters that turn what modules returned into what the next role takes: data flow without set_fact."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, List, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.benchkeeper.core.plugins.module_utils._proof import compare


def fences(results: Sequence[Mapping[str, Any]], state: str = "{}") -> Dict[str, Dict[str, Any]]:
    """Return ``{host: {resource, run_id, nonce, token}}`` for the leases that were taken.

    Args:
        results: loop results of module `lease`.
        state: text of the run's state file, which holds the nonce.
    """
    nonce = json.loads(state or "{}").get("nonce", "")
    taken = {}
    for one in results:
        if one.get("token") and not one.get("failed") and not one.get("unreachable"):
            host = one["item"]["name"]
            taken[host] = {"resource": host, "run_id": one["run_id"], "nonce": nonce, "token": one["token"]}
    return taken


def unreachable(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the names of the hosts that a loop over hosts did not reach."""
    return sorted(str(_name(one)) for one in results if one.get("unreachable"))


def _name(result: Mapping[str, Any]) -> Any:
    item = result.get("item")
    return item.get("name", "?") if isinstance(item, Mapping) else item


def reasons(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return a line for each signal that was not there and each host that could not be asked, in loop results of `stack_wait`."""
    lines = []
    for one in results:
        if one.get("skipped"):
            continue
        if one.get("unreachable") or one.get("failed") or "signals" not in one:
            lines.append(f"{_name(one)}: {one.get('msg', 'could not be asked')}")
            continue
        # What was only not waited for any longer says nothing by itself.
        missing = [signal for signal in one["signals"] if not signal["ok"] and not signal.get("since")]
        lines += [f"{_name(one)}: {signal['name']}: {signal['why']}" for signal in missing]
    return lines


def step_of_command(result: Mapping[str, Any], identity: str, title: str, phase: str) -> List[Dict[str, Any]]:
    """Return a guarded command's result as a list of one step, or none if it did not run."""
    if not result or result.get("skipped"):
        return []
    rc = result.get("rc")
    said = str(result.get("stderr_tail") or result.get("stdout_tail") or result.get("msg") or "").strip()[-600:]
    good = rc == 0 and not result.get("failed")
    why = "" if good else f"ended with {rc}; it last said: {said}"
    seconds = result.get("seconds", 0)
    return [{"id": identity, "title": title, "phase": phase, "ok": good, "why": why, "seconds": seconds}]


def steps_of_wait(results: Sequence[Mapping[str, Any]], identity: str, title: str, phase: str) -> List[Dict[str, Any]]:
    """Return results of `stack_wait` as steps, one for each signal."""
    steps = []
    for one in results:
        if not one or one.get("skipped"):
            continue
        if "signals" not in one:
            why = str(one.get("msg", "could not be asked"))
            steps.append({"id": identity, "title": title, "phase": phase, "ok": False, "why": why, "seconds": 0})
        for signal in one.get("signals", []):
            name = f"{identity}.{signal['name'].replace(' ', '.')}"
            line = {"id": name, "title": f"{title}: {signal['name']}", "phase": phase, "ok": bool(signal["ok"])}
            steps.append({**line, "why": "" if signal["ok"] else signal["why"], "seconds": signal["seconds"]})
    return steps


def steps_of_loop(result: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Return the steps that a loop over `stack_step` went through; a call that failed is a failed step."""
    steps = []
    for one in (result or {}).get("results", []):
        if one.get("skipped"):
            continue
        item = one.get("item", {})
        if "step" in one:
            steps.append(one["step"])
        else:
            line = {"id": item.get("id", "step"), "title": item.get("title", ""), "phase": item.get("phase", "")}
            steps.append({**line, "ok": False, "why": str(one.get("msg", "did not come back")), "seconds": 0})
    return steps


def by_host(results: Sequence[Mapping[str, Any]], key: str) -> Dict[str, Any]:
    """Return ``{host: result[key]}`` for the loop results that have the key."""
    return {str(_name(one)): one[key] for one in results if one.get(key) is not None}


def all_ok(result: Mapping[str, Any]) -> bool:
    """Return whether a loop over `stack_step` ran and every step came out as expected."""
    steps = steps_of_loop(result)
    return bool(steps) and all(step["ok"] for step in steps)


def not_proven(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return a line for each host of a loop over `keeper_recover` that is not proven back."""
    return [f"{_name(one)}: {one.get('msg', 'not reached')}" for one in results if not one.get("proven")]


def searched(results: Sequence[Mapping[str, Any]]) -> Dict[str, Dict[str, List[str]]]:
    """Return ``{host: {hits, gaps}}`` for the hosts whose logs `stack_evidence_info` searched."""
    return {str(_name(one)): {"hits": list(one["hits"]), "gaps": list(one["gaps"])} for one in results if "gaps" in one}


def worker_names(hostvars: Mapping[str, Any], miners: Sequence[str]) -> Dict[str, Any]:
    """Return the worker names that the inventory gives to miners, host variable ``bench_worker_name``."""
    given = {name: hostvars[name].get("bench_worker_name") for name in miners if name in hostvars}
    return {name: value for name, value in given.items() if value is not None}


def prefixed(documents: Mapping[str, Any], prefix: str) -> Dict[str, Any]:
    """Return the mapping with a prefix before each key."""
    return {f"{prefix}{name}": document for name, document in documents.items()}


def locked(results: Sequence[Mapping[str, Any]], busy_exit: Any) -> Dict[str, str]:
    """Return by host the last words of the guarded commands that ended because somebody else had the program's own lock.

    Args:
        results: loop results of module `guarded_command`.
        busy_exit: the exit code that means so, `driver.busy_exit` of the profile; nothing where the program has none.
    """
    found = {}
    for one in results:
        if busy_exit and one.get("rc") == busy_exit:
            said = str(one.get("stderr_tail") or "").strip() or str(one.get("stdout_tail") or "").strip()
            found[str(_name(one))] = said.rsplit("\n", 1)[-1].strip()[-300:] or "somebody who is not recorded"
    return found


def busy_of(
    result: Mapping[str, Any],
    fitness: Mapping[str, Any],
    signals: Mapping[str, Sequence[str]],
    commands: Sequence[Mapping[str, Any]] = (),
    busy_exit: Any = None,
) -> Dict[str, Any]:
    """Return who holds what was asked for, if that is why a task or one item of its loop failed.

    Args:
        result: the failed task's result.
        fitness: registered loop of `stack_wait` on fitness; empty when it did not come to that.
        signals: names of the signals, by host, that mean that somebody else is at work there (the product's own lock).
        commands: loop results of the driver's verbs that change the stack.
        busy_exit: their exit code that means the same.
    """
    for host, said in locked(commands, busy_exit).items():
        return {"resource": host, "holder": said}
    for one in [result, *result.get("results", [])]:
        if isinstance(one, Mapping) and one.get("busy"):
            return dict(one["busy"])
    for one in fitness.get("results", []):
        for signal in one.get("signals", []):
            if not signal["ok"] and signal["name"] in signals.get(str(_name(one)), ()):
                return {"resource": str(_name(one)), "holder": signal["why"]}
    return {}


def failure_of(result: Mapping[str, Any]) -> str:
    """Return what a failed task says, of a loop what its first failed item says."""
    for one in result.get("results", []):
        if isinstance(one, Mapping) and (one.get("failed") or one.get("unreachable")):
            return f"{_name(one)}: {one.get('msg', 'no message')}"
    return str(result.get("msg", "no message"))


def live_dir(document: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Return the directory that the running containers say drives the stack; the profile's when nothing runs."""
    service = run["live_label"]["service"]
    services = document.get("invariant", {}).get("stack", {}).get("services", {})
    found = services.get(service, {}).get("working_dir")
    return str(run["live"] if not found or found == run["checkout"] else found)


def keeper_missing(results: Sequence[Mapping[str, Any]], sha256: str) -> List[str]:
    """Return the hosts whose keeper is another one, or watches over nothing, and may be exchanged: nothing is leased there."""
    missing = []
    for one in results:
        leased = [lease for lease in one.get("leases", []) if lease.get("state") != "free"]
        if (one.get("sha256") != sha256.strip() or not one.get("watched")) and not leased:
            missing.append(str(_name(one)))
    return missing


def keeper_there(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the hosts that have a keeper, in loop results of `keeper_info`."""
    return [str(_name(one)) for one in results if one.get("installed")]


def backup_path(result: Mapping[str, Any], pattern: str) -> str:
    """Return the archive that a backup said it wrote.

    Raises:
        AnsibleFilterError: it did not say so.
    """
    found = re.search(pattern, str(result.get("stdout_tail", "")), re.MULTILINE)
    if not found:
        said = str(result.get("stderr_tail") or result.get("stdout_tail") or result.get("msg") or "nothing")[-300:]
        raise AnsibleFilterError(f"the backup of the baseline did not say what it wrote; it said: {said}")
    return found["path"]


def logs_by_path(results: Sequence[Mapping[str, Any]]) -> Dict[str, str]:
    """Return the redacted texts of `stack_evidence_info` by path below the run directory."""
    return {f"hosts/{_name(one)}/{name}": text for one in results for name, text in (one.get("texts") or {}).items()}


def restore_files(
    run: Mapping[str, Any],
    done: Sequence[Mapping[str, Any]],
    seen: Sequence[Mapping[str, Any]],
    before: Mapping[str, Any],
    left: Mapping[str, Any],
) -> Dict[str, Any]:
    """Return the files that say how every host came back: ``work/restore.json`` and each host's looks and journal.

    Args:
        run: the run context.
        done: loop results of `keeper_recover`.
        seen: loop results of `host_snapshot_info`, of hosts that were only looked at.
        before: looks from before the run by host.
        left: how the hosts are that nobody put back, as filter `left_as_is` returns it.
    """
    hosts: Dict[str, Any] = {}
    files: Dict[str, Any] = {f"hosts/{name}/before.json": document for name, document in before.items()}
    for one in done:
        if one.get("skipped"):
            continue
        why = [] if "restored" in one else [{"why": str(one.get("msg", "not reached"))}]
        hosts[str(_name(one))] = {
            "restored": bool(one.get("restored")),
            "proven": bool(one.get("proven")),
            "seconds": one.get("seconds", 0),
            "state": one.get("state", "unknown"),
            "items": one.get("items", []),
            "failures": [*one.get("failures", []), *why],
        }
        for name in ("after", "journal"):
            if one.get(name):
                files[f"hosts/{_name(one)}/{name}.json"] = one[name]
    for one in seen:
        name = str(_name(one))
        after = one.get("snapshot")
        rules = next(host["proof"] for host in run["hosts"] if host["name"] == name)
        if after and name in before:
            failures = [_plain(failure) for failure in compare(before[name], after, {**rules, "predicates": []})]
            files[f"hosts/{name}/after.json"] = after
        else:
            failures = [{"why": str(one.get("msg", "not looked at"))}]
        hosts[name] = {
            "restored": not failures,
            "proven": not failures,
            "seconds": 0,
            "state": "untouched",
            "items": [],
            "failures": failures,
        }
    for name, end in left.items():
        hosts.setdefault(name, end)
    files["work/restore.json"] = hosts
    return files


def left_as_is(leased: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Return how each leased host is while nobody puts it back: kept until its deadline, or not back without anybody's wish.

    Args:
        leased: the fences by host.
        kept: loop results of module `lease` for the hosts that stay as they are because that was asked for.
    """
    ends = {name: _open("nobody put it back") for name in leased}
    for one in kept:
        if not one.get("skipped"):
            until = one.get("deadline") if one.get("token") and not one.get("failed") else None
            why = f"kept as asked, until {until}" if until else f"could not be kept: {one.get('msg', 'not reached')}"
            ends[str(_name(one))] = {**_open(why), **({"state": "kept", "deadline": until} if until else {})}
    return ends


def _open(why: str) -> Dict[str, Any]:
    return {"restored": False, "proven": False, "seconds": 0, "state": "unknown", "items": [], "failures": [{"why": why}]}


def _plain(failure: Any) -> Any:
    return failure if isinstance(failure, dict) else getattr(failure, "__dict__", str(failure))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "all_ok": all_ok,
            "backup_path": backup_path,
            "busy_of": busy_of,
            "by_host": by_host,
            "failure_of": failure_of,
            "fences": fences,
            "keeper_missing": keeper_missing,
            "keeper_there": keeper_there,
            "left_as_is": left_as_is,
            "live_dir": live_dir,
            "locked": locked,
            "logs_by_path": logs_by_path,
            "not_proven": not_proven,
            "prefixed": prefixed,
            "reasons": reasons,
            "restore_files": restore_files,
            "searched": searched,
            "step_of_command": step_of_command,
            "steps_of_loop": steps_of_loop,
            "steps_of_wait": steps_of_wait,
            "unreachable_hosts": unreachable,
            "worker_names": worker_names,
        }
