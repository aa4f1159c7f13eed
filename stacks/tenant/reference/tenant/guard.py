"""The tenant guard: does this request belong to this organisation? Routing only; authentication stands on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tenant import control_paths
from tenant.behaviour import Behaviour, Defect, Profile, Regression

ORG_HEADER = "X-Molecule-Org-Id"
FLY_HEADER = "Fly-Replay-Src"

# Contract 3.2: exact paths, and the method they are meant for.
PUBLIC = {"/health": "GET", "/metrics": "GET", "/registry/register": "POST", "/registry/heartbeat": "POST"}
PUBLIC_TODAY = {**PUBLIC, "/buildinfo": "GET"}

MISSING = {
    "error": "missing tenant routing header",
    "code": "TENANT_ORG_HEADER_REQUIRED",
    "required_header": ORG_HEADER,
    "detail": f"send the id of the organisation in {ORG_HEADER}; the domain router does that for its own requests",
}


class Verdict(Enum):
    """What the guard says: let it pass, hide that anything is here, or tell that the organisation is missing, or wrong."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    HIDE = "hide"
    MISSING = "missing"
    TOLD = "told"


@dataclass(frozen=True)
class Guard:
    """One organisation's guard.

    Attributes:
        org_id: The organisation. Empty: everything passes.
        canvas: Whether a UI is served from the same origin, which makes same-origin requests pass.
        behaviour: Profile and defects.
    """

    org_id: str
    canvas: bool
    behaviour: Behaviour

    def judge(self, method: str, path: str, host: str, headers: Mapping[str, str]) -> Verdict:
        """Judge one request.

        Args:
            method: Its method.
            path: Its decoded path.
            host: Its Host header.
            headers: Its headers; of repeated ones the first.

        Returns:
            The verdict of the first rule that applies, in the contract's order.
        """
        off = not self.org_id or self.behaviour.has(Regression.GUARD_OFF)
        if off or self._public(method, path) or self._proxied(method, path):
            return Verdict.PASS
        named = headers.get(ORG_HEADER, "").strip()
        replayed = fly_state(headers.get(FLY_HEADER, ""))
        if self.org_id in (named, replayed):
            return Verdict.PASS
        if self.canvas and same_origin(host, headers):
            return Verdict.PASS
        if self.behaviour.profile is Profile.CURRENT and not named and not headers.get(FLY_HEADER, "").strip():
            return Verdict.MISSING
        return Verdict.TOLD if self.behaviour.has(Regression.TELLING_GUARD) else Verdict.HIDE

    def _proxied(self, method: str, path: str) -> bool:
        # What the proxy would not take falls to the UI, which is no public place.
        return path.startswith("/cp/") and (method in control_paths.METHODS or self.behaviour.has(Defect.METHOD_BLIND_GUARD))

    def _public(self, method: str, path: str) -> bool:
        public = PUBLIC_TODAY if self.behaviour.profile is Profile.CURRENT else PUBLIC
        if self.behaviour.has(Defect.METHOD_BLIND_GUARD):
            return path in public
        return public.get(path) == method


def fly_state(header: str) -> str | None:
    """Give the organisation that a replayed request names: the first `state=` counts, later ones do not."""
    for segment in header.split(";"):
        text = segment.strip()
        if text.startswith("state="):
            return text.removeprefix("state=")
    return None


def same_origin(host: str, headers: Mapping[str, str]) -> bool:
    """Say whether Referer or Origin point at this very host. The client writes all three."""
    own = (f"http://{host}", f"https://{host}")
    referer = headers.get("Referer", "")
    return referer in own or referer.startswith(tuple(f"{origin}/" for origin in own)) or headers.get("Origin", "") in own
