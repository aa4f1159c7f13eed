"""What the tests of all scenarios share: the run that the scenario took its leases for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import testinfra

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

SCRATCH = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", "."))


@pytest.fixture(scope="session")
def state() -> dict[str, Any]:
    """The state file of the scenario's run: run_id, nonce, holder, hosts."""
    found: dict[str, Any] = json.loads((SCRATCH / "run.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def results(state: dict[str, Any]) -> Path:
    """The results directory of the scenario's run, on this computer."""
    return SCRATCH / "results" / str(state["run_id"])


@pytest.fixture(scope="session")
def context(results: Path) -> dict[str, Any]:
    """The run context."""
    found: dict[str, Any] = json.loads((results / "work" / "context.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def lease(host: Host, state: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Ask the keeper of the host for the lease of the scenario's run; empty when the run holds nothing there."""

    def ask() -> dict[str, Any]:
        leases = json.loads(host.check_output("sudo keeper status --json"))["leases"]
        return next((one for one in leases if one["run_id"] == state["run_id"] and one["state"] != "free"), {})

    return ask


@pytest.fixture
def on(request: pytest.FixtureRequest) -> Callable[[str], Host]:
    """Give a host by name, for tests that look at several."""
    config = request.config.getoption("--ssh-config")
    return lambda name: testinfra.get_host(f"ssh://{name}", ssh_config=config)
