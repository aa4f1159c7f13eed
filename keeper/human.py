"""What the keeper says to a person at the machine at three in the morning. Pure: answers in, text out."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping

_UNDO = {
    "file": "the original is put back by one rename",
    "command": "its counter-command runs, then its effect is verified",
    "engine": "image tags are given back, strangers removed, the stack's own start command runs, images are compared",
    "service": "it is made as active and enabled as it was",
    "call": "the container gets its earlier state back",
    "tree": "the directory is removed",
    "created": "the file is removed",
}


def _span(seconds: float) -> str:
    total = int(abs(seconds))
    hours, minutes = divmod(total // 60, 60)
    return f"{hours} h {minutes} min" if hours else (f"{minutes} min {total % 60} s" if minutes else f"{total} s")


def _who(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "nobody known"
    return f"{holder.get('user', '?')}@{holder.get('host', '?')}, process {holder.get('pid', '?')}"


def _by_hand(found: Mapping[str, Any]) -> List[str]:
    resource, state = found["resource"], found["state"]
    lines = [
        "  The keeper does nothing here by itself. If another version of it wrote this, that version can finish it: put that one",
        f"  in place, then  sudo keeper recover --resource {resource}",
        "  Else by hand, as root. It comes from records that cannot be trusted: look first, and do what you find to be true.",
        f"    systemctl stop 'bk-{resource}-*'",
    ]
    for run in found["runs"]:
        damaged = f", {run['damaged']} cannot be" if run["damaged"] else ""
        lines.append(f"    run {run['run_id']}, newest change first ({run['read']} records of it can be read{damaged}):")
        lines += [f"      {one['seq']:>4} {one['kind']:<8} {one['item']}: {one['look']}" for one in run["changes"]]
    names = [f"-name '.*.bk-{run['run_id']}*'" for run in found["runs"]] or ["-name '.*.bk-*'"]
    lines.append(f"    Originals stand hidden beside their files:  sudo find / -xdev {' -o '.join(names)}")
    folders = " ".join(run["folder"] for run in found["runs"])
    lines.append(
        f"    Then compare with before.json in the run's directory, and remove: {state}/leases/{resource} {folders}".rstrip()
    )
    return [*lines, f"    Keep {state}/tokens. What each record means: docs/reference/journal.md"]


def _advice(one: Mapping[str, Any]) -> List[str]:
    if one.get("by_hand"):
        return _by_hand(one["by_hand"])
    run = f" --run {one['run_id']}" if one.get("run_id") else ""
    resource = f" --resource {one['resource']}"
    if one["state"] == "held" and one.get("over"):
        return [f"  It ran out. Put it back now:     sudo keeper recover{resource}"]
    if one["state"] == "held":
        return [
            "  Leave it alone while its run is alive; it then puts everything back by itself.",
            f"  If its run is dead for certain:  sudo keeper recover{resource}{run} --force",
        ]
    if one["state"] in ("restoring", "proving"):
        return [f"  Finish (or follow) the restore:  sudo keeper recover{resource}"]
    if one["state"] == "unproven":
        lines = [
            f"  sudo keeper settle {item['item']}{resource} --keep original|current --reason 'why'"
            for item in one.get("items", [])
            if item["state"] == "conflict"
        ]
        lines = ["  Decide about each conflict, then it is proven and freed:", *lines] if lines else []
        if not lines and (one.get("proof") or {}).get("failures"):
            lines = [
                "  Everything is put back; somebody else changed what the proof misses. If that is right:",
                f"  sudo keeper settle proof{resource} --keep current --reason 'why'",
            ]
        return [*lines, f"  Try the restore and the proof again:  sudo keeper recover{resource}"]
    return []


def _one(one: Mapping[str, Any], *, explain: bool) -> List[str]:
    lines = [f"{one['resource']}: {one['state'].upper()}" + (" (its time ran out)" if one.get("over") else "")]
    if one["state"] == "free":
        return lines + _last_run(one) + _late(one)
    lines += _lease_lines(one) + _late(one)
    items = one.get("items") or []
    open_items = [item for item in items if item["state"] not in ("put back", "settled")]
    lines += [
        f"  waiting: {place['position']}. run {place['run_id']} of {_who(place['holder'])}, for {_span(place['waiting'])}"
        for place in one.get("queue") or []
    ]
    lines.append(f"  changed: {len(items)}, still to be put back: {len(open_items)}")
    for item in items if explain else open_items:
        lines += _item_lines(item, explain=explain and item in open_items)
    return lines + _advice(one)


def _last_run(one: Mapping[str, Any]) -> List[str]:
    if not one.get("run_id"):
        return []
    if (one.get("proof") or {}).get("confirmed"):
        return [f"  last run {one['run_id']}; what it changed was confirmed, and stays"]
    return [f"  last run {one['run_id']}; everything was put back and proven", *_cause(one)]


def _cause(one: Mapping[str, Any]) -> List[str]:
    why = (one.get("restored") or {}).get("why")
    return [f"  restored because {why}"] if why else []


def _late(one: Mapping[str, Any]) -> List[str]:
    lines = [
        f"  LATE WRITE: {write['path']} {write['what']} within {_span(write['after'])} after it was put back "
        f"(run {write['run_id']}); by whom cannot be told"
        for write in one.get("late_writes") or []
    ]
    if one.get("watched_for"):
        lines.append(f"  files that were put back are watched for late writes for {_span(one['watched_for'])} more")
    return lines


def _lease_lines(one: Mapping[str, Any]) -> List[str]:
    lines: List[str] = []
    if one.get("since"):
        since = f"since {one['since']} ({_span(one.get('age') or 0)})"
        lines.append(f"  run {one.get('run_id')}, held by {_who(one.get('holder') or {})}, {since}")
    if one["state"] == "held":
        lines += _held_lines(one)
    if one["state"] in ("proving", "unproven"):  # while it is restored, this is its reason
        lines += _cause(one)
    if one.get("retry_in") is not None:
        lines.append(f"  tried {one.get('attempts')} times; tried again by itself in {_span(one['retry_in'])}")
    if one.get("keep"):
        lines.append("  kept on purpose (--keep): its holder may be gone")
    if one.get("restoring_now"):
        lines.append("  it is being restored right now")
    if one.get("reason"):
        lines.append(f"  reason: {one['reason']}")
    return lines


def _held_lines(one: Mapping[str, Any]) -> List[str]:
    if one.get("over"):
        late = f"{_span(one['left'])} ago" if (one.get("left") or 0) < 0 else "with the last boot"
        return [f"  its time ended {late}; nothing is changed under it any more"]
    lines = [f"  its time ends in {_span(one.get('left') or 0)} unless it is renewed; dead-man: {one.get('arming')}"]
    expected = one.get("expect_reboot")
    if expected:
        word = "came; its run has to be back" if expected["came"] else f"is expected (announced by {expected['by']})"
        lines.append(f"  a reboot {word} until {expected['until']}")
    hold = one.get("hold") or {}
    if hold.get("cut_for") is not None:
        lines.append(f"  its holder is cut off for {hold['cut_for']:g} s; without it everything is put back in a moment")
    return lines


def _item_lines(item: Mapping[str, Any], *, explain: bool) -> List[str]:
    lines = [f"  {item['seq']:>4} {item['kind']:<8} {item['what']}  [{item['item']}: {item['state']}]"]
    if item.get("why"):
        lines.append(f"         {item['why']}")
    if explain:
        undo = f"with {item['covered_by']}" if item.get("covered_by") else _UNDO.get(item["kind"], "?")
        lines.append(f"         undo: {undo}")
        if item.get("original"):
            folder = str(item["what"]).rsplit("/", 1)[0]
            lines.append(f"         by hand: mv {folder}/{item['original']} {item['what']}")
    return lines


def status(answer: Mapping[str, Any], *, explain: bool = False) -> str:
    """Return the page of ``keeper status`` or ``keeper explain``."""
    resources = answer.get("leases") or []
    if not resources:
        return "Nothing on this machine was ever lent.\n"
    blocks = ["\n".join(_one(one, explain=explain)) for one in resources]
    return "\n\n".join(blocks) + "\n"


def recover(answer: Mapping[str, Any]) -> str:
    """Return what ``keeper recover`` did."""
    lines: List[str] = []
    for name, one in (answer.get("resources") or {}).items():
        if one.get("error"):
            lines.append(f"{name}: NOT restored: {one['error']['message']}")
        elif one.get("nothing_to_do"):
            lines.append(f"{name}: nothing to do, {one.get('why')}")
        elif one.get("proven"):
            because = f", because {one['why']}" if one.get("why") else ""
            lines.append(f"{name}: restored and proven in {one.get('seconds')} s{because}; it is free")
        elif one.get("restored"):
            lines.append(f"{name}: restored, but NOT proven; it stays in quarantine")
            lines += [f"  {bad.get('probe')} {bad.get('path')}: {bad.get('why')}" for bad in one.get("failures", [])]
        else:
            lines.append(f"{name}: NOT restored; it stays in quarantine")
        lines += [
            f"  {item['item']}: {item['verdict']}{': ' + item['why'] if item['why'] else ''}"
            for item in one.get("items") or []
            if item["verdict"] in ("CONFLICT", "FAILED")
        ]
        lines += _by_hand(one["by_hand"]) if one.get("by_hand") else []
    return "\n".join(lines or ["Nothing on this machine was ever lent."]) + "\n"


def settle(answer: Mapping[str, Any]) -> str:
    """Return what ``keeper settle`` did."""
    end = "everything is proven and free" if answer.get("proven") else "NOT proven yet, see keeper status"
    return f"{answer.get('item')}: {answer.get('why') or answer.get('verdict')}; {end}\n"


def expect_reboot(answer: Mapping[str, Any]) -> str:
    """Return what ``keeper expect-reboot`` announced."""
    lines = [
        f"{one['resource']}: run {one['run_id']} of {_who(one['holder'])} keeps it over one reboot if it is back by "
        f"{answer['until']}; if not, everything is put back"
        for one in answer["leases"]
    ]
    return "\n".join(lines + [f"{name}: {why}" for name, why in answer["others"].items()]) + "\n"


_PAGES: Dict[str, Callable[[Mapping[str, Any]], str]] = {
    "status": status,
    "recover": recover,
    "settle": settle,
    "expect-reboot": expect_reboot,
}


def render(command: str, answer: Mapping[str, Any]) -> str:
    """Return the page of a command, or the reason why there is none."""
    if "error" in answer:
        help_ = _by_hand(answer["by_hand"]) if answer.get("by_hand") else []
        return "\n".join([f"keeper: {answer['error']['message']}", *help_]) + "\n"
    if command == "explain":
        return status(answer, explain=True)
    return _PAGES[command](answer)
