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


def _advice(one: Mapping[str, Any]) -> List[str]:
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
        if one.get("unreadable"):
            lines = [
                "  Nothing of it is executed. Each original stands hidden beside its file, as .NAME.bk-RUN-NUMBER; find them,",
                "  compare, and move each over its file by hand:",
                f"  sudo find / -xdev -name '.*.bk-{one.get('run_id') or ''}*'",
            ]
        return [*lines, f"  Try the restore and the proof again:  sudo keeper recover{resource}"]
    return []


def _one(one: Mapping[str, Any], *, explain: bool) -> List[str]:
    lines = [f"{one['resource']}: {one['state'].upper()}" + (" (its time ran out)" if one.get("over") else "")]
    if one["state"] == "free":
        last = f"  last run {one.get('run_id')}; everything was put back and proven"
        return lines + ([last] if one.get("run_id") else [])
    lines += _lease_lines(one)
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


def _lease_lines(one: Mapping[str, Any]) -> List[str]:
    lines: List[str] = []
    if one.get("since"):
        since = f"since {one['since']} ({_span(one.get('age') or 0)})"
        lines.append(f"  run {one.get('run_id')}, held by {_who(one.get('holder') or {})}, {since}")
    if one["state"] == "held" and one.get("over"):
        late = f"{_span(one['left'])} ago" if (one.get("left") or 0) < 0 else "with the last boot"
        lines.append(f"  its time ended {late}; nothing is changed under it any more")
    elif one["state"] == "held":
        lines.append(f"  its time ends in {_span(one.get('left') or 0)} unless it is renewed; dead-man: {one.get('arming')}")
    hold = one.get("hold") or {}
    if hold.get("cut_for") is not None:
        lines.append(f"  its holder is cut off for {hold['cut_for']:g} s; without it everything is put back in a moment")
    if one.get("retry_in") is not None:
        lines.append(f"  tried {one.get('attempts')} times; tried again by itself in {_span(one['retry_in'])}")
    if one.get("keep"):
        lines.append("  kept on purpose (--keep): its holder may be gone")
    if one.get("restoring_now"):
        lines.append("  it is being restored right now")
    if one.get("reason"):
        lines.append(f"  reason: {one['reason']}")
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
            lines.append(f"{name}: restored and proven in {one.get('seconds')} s; it is free")
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
    return "\n".join(lines or ["Nothing on this machine was ever lent."]) + "\n"


def settle(answer: Mapping[str, Any]) -> str:
    """Return what ``keeper settle`` did."""
    end = "everything is proven and free" if answer.get("proven") else "NOT proven yet, see keeper status"
    return f"{answer.get('item')}: {answer.get('why') or answer.get('verdict')}; {end}\n"


_PAGES: Dict[str, Callable[[Mapping[str, Any]], str]] = {"status": status, "recover": recover, "settle": settle}


def render(command: str, answer: Mapping[str, Any]) -> str:
    """Return the page of a command, or the reason why there is none."""
    if "error" in answer:
        return f"keeper: {answer['error']['message']}\n"
    if command == "explain":
        return status(answer, explain=True)
    return _PAGES[command](answer)
