"""Whose code runs: every first-party service comes from the commit under test, from its directory, from the image its tag names."""

from __future__ import annotations

from typing import Iterator

from ansible_collections.benchkeeper.core.plugins.module_utils._check import (
    RunContext,
    Snapshot,
    Verdict,
    check,
    judge,
    need,
    services,
)

WITH_BRANCH = ("deploy", "scenario", "lifecycle-restarted", "lifecycle-flipped", "lifecycle-end")


@check(*WITH_BRANCH)
def from_branch(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """What answers is the branch. A tag says nothing: images are compared by id, code by the commit it was built from."""
    lacking = list(need(snapshot, "census.readable", "The services can be looked at", "stack"))
    yield from lacking
    if lacking:
        return
    tags = {tag: image["id"] for image in snapshot["observed"]["stack"].get("images") or [] for tag in image.get("tags") or []}
    seen = services(snapshot)
    for name, one in services(snapshot, "invariant").items():
        title = f"{name} was built from the branch"
        yield judge(f"census.{name}.commit", title, context["commit"], seen.get(name, {}).get("image_revision"))
        title = f"{name} is driven by the branch's checkout"
        yield judge(f"census.{name}.directory", title, context["checkout"], one.get("working_dir"))
        title = f"{name} runs the image that was built last"
        yield judge(f"census.{name}.image", title, tags.get(str(one.get("image_ref"))), one.get("image_id"))


@check("baseline")
def from_live(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """The baseline is driven by one directory, the live one."""
    lacking = list(need(snapshot, "census.readable", "The services can be looked at", "stack"))
    yield from lacking
    if not lacking:
        seen = {str(one.get("working_dir")) for one in services(snapshot, "invariant").values()}
        yield judge("census.baseline.directory", "The baseline is driven by the live directory", [context["live"]], seen, "set_eq")


@check(*WITH_BRANCH)
def bound_files(snapshot: Snapshot, context: RunContext) -> Iterator[Verdict]:
    """A file inside a running container is the commit's file, byte for byte."""
    bound = context.get("binding_blobs") or {}
    if not bound:
        why = "the controller has no repository of the branch with the bound files: the images alone tell the commit"
        yield Verdict("census.bound_files", "Files in the containers are the branch's", "skip", why, skip_class="missing")
    for name, demanded in bound.items():
        title = f"{name} in the container is the branch's"
        lacking = list(need(snapshot, f"census.{name}.blob", title, name))
        yield from lacking
        if not lacking:
            yield judge(f"census.{name}.blob", title, demanded, snapshot["observed"][name].get("sha1_git"))
