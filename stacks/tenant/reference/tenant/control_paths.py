"""Which paths of the control plane the outside may reach through the tenant."""

from __future__ import annotations

import posixpath

# Contract 3.3: a trailing slash means anything below, the others are exact or followed by a slash.
ALLOWED = ("/cp/auth/", "/cp/orgs", "/cp/billing/", "/cp/templates", "/cp/legal/")
# Methods that are proxied at all; the others are no business of the control plane (recorded: they go to the UI).
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "HEAD", "OPTIONS", "DELETE", "CONNECT", "TRACE"})


def below_prefix(path: str) -> bool:
    """Compare a decoded path with the list, as it stands."""
    return any(
        path.startswith(prefix) if prefix.endswith("/") else path == prefix or path.startswith(f"{prefix}/") for prefix in ALLOWED
    )


def cleaned(path: str) -> str:
    """Resolve dot segments and repeated slashes; a trailing slash stays."""
    clean = posixpath.normpath(path)
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def allowed(path: str, *, clean: bool) -> bool:
    """Say whether a decoded path may be forwarded.

    Args:
        path: The decoded path.
        clean: Whether a path that cleaning would change is refused. Resolving it instead would leave it to chance whether the
            upstream resolves the raw form in the same way.
    """
    return below_prefix(path) and (not clean or cleaned(path) == path)
