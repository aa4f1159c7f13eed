"""Starting workspaces behind the answer: the client is told `provisioning` at once, the row says later how it went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from tenant.control import ControlPlane
from tenant.session import Unreachable
from tenant.settings import Settings
from tenant.store import Changes, Store, StoreError, Workspace
from wire.consumer import Undecodable

log = logging.getLogger("tenant.provisioning")

NOT_STARTED = "provisioning failed"
NO_PROVISIONER = "workspace start failed"
GONE = ("terminated", "stopped", "not_found")


@dataclass
class Provisioning:
    """Work that outlives its request.

    Attributes:
        settings: The server's.
        store: Where the outcome is written.
        control: The control plane, None when this server has no provisioner.
    """

    settings: Settings
    store: Store
    control: ControlPlane | None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Drop what is under way."""
        for task in set(self._tasks):
            task.cancel()
        await self.settle()

    def start(self, workspace: Workspace) -> None:
        """Start a workspace."""
        self._later(self._start(workspace))

    def restart(self, workspace: Workspace) -> None:
        """Stop a workspace whose instance is known, then start it again."""
        self._later(self._restart(workspace))

    async def gone(self, workspace: Workspace) -> bool:
        """Say whether the control plane knows that the instance is no more. No answer is no proof."""
        if not self.control or not workspace.instance_id:
            return False
        try:
            return await self.control.status(workspace.id, workspace.instance_id) in GONE
        except (Unreachable, Undecodable):
            return False

    async def _restart(self, workspace: Workspace) -> None:
        if self.control and workspace.instance_id:
            try:
                await self.control.stop(workspace.id, workspace.instance_id)
            except (Unreachable, Undecodable) as failure:
                log.warning("stop of %s failed: %s", workspace.id, failure)
        await self._start(workspace)

    async def _start(self, workspace: Workspace) -> None:
        if not self.control:
            await self._note(workspace.id, {"status": "failed", "last_sample_error": NO_PROVISIONER})
            return
        try:
            started = await self.control.provision(order(self.settings, workspace))
        except (Unreachable, Undecodable) as failure:
            log.warning("start of %s failed: %s", workspace.id, failure)
            await self._note(workspace.id, {"status": "failed", "last_sample_error": NOT_STARTED})
        else:
            if started.instance_id:
                await self._note(workspace.id, {"instance_id": started.instance_id})

    async def _note(self, workspace_id: str, changes: Changes) -> None:
        try:
            await self.store.change(workspace_id, changes)
        except StoreError as failure:
            log.warning("the outcome for %s could not be written: %s", workspace_id, type(failure).__name__)


def order(settings: Settings, workspace: Workspace) -> dict[str, Any]:
    """Say what the control plane is to start.

    Returns:
        The body of a provision call (contract 4), with the environment that names the agent in commits. The product also sends a
        wrapper script of its own here; we send none.
    """
    author = f"Molecule AI {workspace.name}"
    address = f"{workspace.name.lower().replace(' ', '-')}@agents.moleculesai.app"
    env = {"GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_NAME": author, "GIT_COMMITTER_EMAIL": address, "GIT_COMMITTER_NAME": author}
    if workspace.role:
        role = workspace.role[:1].upper() + workspace.role[1:]
        env |= {
            "MOLECULE_AGENT_ROLE": role,
            "MOLECULE_ATTRIBUTION_BADGE": f"\N{ROBOT FACE} [Agent: {role} \N{MIDDLE DOT} ws-{workspace.id[:8]}]",
            "MOLECULE_OWNER": "",
            "MOLECULE_WORKSPACE_ID": workspace.id,
        }
    if workspace.parent_id:
        env["PARENT_ID"] = workspace.parent_id
    return {
        "org_id": settings.org_id,
        "workspace_id": workspace.id,
        "runtime": workspace.runtime,
        "tier": workspace.tier,
        "platform_url": settings.platform_url,
        "env": env,
    }
