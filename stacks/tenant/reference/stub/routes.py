"""The control plane's routes: who may call them how, what they answer, and by what that answer is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from stub.settings import Defect, Settings
from wire import answers, consumer


@dataclass
class World:
    """What the stub remembers.

    Attributes:
        settings: Its settings.
        counters: Calls by the names that `/__stub/state` shows.
        instances: Instance of each workspace that runs.
    """

    settings: Settings
    counters: Counter[str] = field(default_factory=Counter)
    instances: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request as a route sees it: parts of the path, query and JSON body; `broken` when the body is no JSON."""

    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    broken: bool = False


Given = tuple[int, Any]  # status and document


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        path: Pattern, `:name` takes a segment.
        method: The only method, `*` for any; others get 405.
        answer: Makes the answer.
        models: Model of the answer by status: the schema that the stub itself is held to.
        decode: The consumer's decoder. It must accept every 2xx answer.
        counter: Name in the state, empty for none.
    """

    path: str
    method: str
    answer: Callable[[World, Asked], Given]
    models: Mapping[int, type[BaseModel]]
    decode: Callable[[int, bytes], object]
    counter: str = ""

    def complaint(self, status: int, document: Any, body: bytes) -> str:
        """Say how an answer breaks the contract, empty when it does not. Nothing of the answer is quoted."""
        model = self.models.get(status)
        if model is None:
            return f"no model for status {status}"
        try:
            model.model_validate(document)
        except ValidationError as failure:
            places = sorted({".".join(str(part) for part in error["loc"]) or "the document" for error in failure.errors()})
            return f"against {model.__name__}: {', '.join(places)}"
        try:
            if status < 300:
                self.decode(status, body)
        except consumer.Undecodable as failure:
            return f"the consumer cannot decode it: {failure}"
        return ""


def _me(_world: World, _asked: Asked) -> Given:
    return 200, {"id": "harness-user", "email": "harness@local", "org_id": "harness-org", "roles": ["admin"]}


def _fleet(_world: World, _asked: Asked) -> Given:
    done = {"slug": "harness-tenant", "phase": "redeploy", "ssm_status": "Success", "ssm_exit_code": 0, "healthz_ok": True}
    return 200, {"ok": True, "results": [done]}


def _orgs(_world: World, asked: Asked) -> Given:
    if asked.broken or not isinstance(asked.body, dict):
        return 400, {"error": "the body is no JSON object", "fields": ["slug", "name", "owner_user_id"]}
    missing = [name for name in ("slug", "name", "owner_user_id") if not asked.body.get(name)]
    if missing:
        return 400, {"error": f"{', '.join(missing)} are required", "fields": missing}
    return 201, {"ok": True, "slug": str(asked.body["slug"])}


def _provision(world: World, asked: Asked) -> Given:
    body = asked.body if isinstance(asked.body, dict) else {}
    workspace = str(body.get("workspace_id") or "harness-ws")
    # Not a name of the retired kind, which begins with `i-` (contract 4).
    instance = f"mol-ws-{workspace}"
    world.instances[workspace] = instance
    document = {"instance_id": instance, "state": "running", "workspace_id": workspace, "url": f"http://{instance}.invalid:8000"}
    return (200 if Defect.PROVISION_OK in world.settings.defects else 201), document


def _config(world: World, _asked: Asked) -> Given:
    if Defect.NESTED_CONFIG in world.settings.defects:
        return 200, {"tenant_id": "harness-org", "runtimes": ["langgraph"], "llm_endpoints": {}, "feature_flags": {}}
    return 200, dict(world.settings.config)


def _stop(world: World, asked: Asked) -> Given:
    world.instances.pop(asked.params["id"], None)
    return 200, {"ok": True}


def _status(world: World, asked: Asked) -> Given:
    return 200, {"state": "running" if asked.params["id"] in world.instances else "terminated"}


def _console(_world: World, asked: Asked) -> Given:
    return 200, {"output": f"{asked.params['id']}: started"}


def _member(_world: World, _asked: Asked) -> Given:
    return 200, {"member": False, "user_id": ""}


def _plain(_world: World, _asked: Asked) -> Given:
    return 200, {"status": "ok"}


def _healthy(status: int, _body: bytes) -> None:
    if status != 200:
        raise consumer.Undecodable(f"healthz answered {status}")


SEED: tuple[Route, ...] = (
    Route("/healthz", "*", _plain, {200: answers.Healthy}, _healthy),
    Route("/cp/auth/me", "*", _me, {200: answers.Person}, consumer.person),
    Route("/cp/admin/tenants/redeploy-fleet", "*", _fleet, {200: answers.Fleet}, consumer.fleet, "redeploy_fleet_calls"),
)
CURRENT: tuple[Route, ...] = (
    *SEED,
    Route("/cp/admin/orgs", "POST", _orgs, {201: answers.Organisation, 400: answers.Missing}, consumer.organisation),
    Route("/cp/workspaces/provision", "POST", _provision, {201: answers.Started}, consumer.provision, "provision_calls"),
    Route("/cp/workspaces/:id", "DELETE", _stop, {200: answers.Stopped}, consumer.stop),
    Route("/cp/workspaces/:id/status", "GET", _status, {200: answers.State}, consumer.status),
    Route("/cp/admin/workspaces/:id/console", "GET", _console, {200: answers.Console}, consumer.console),
    Route("/cp/auth/tenant-member", "GET", _member, {200: answers.Member}, consumer.membership),
    Route("/cp/tenants/config", "GET", _config, {200: answers.Config}, consumer.config, "tenants_config_calls"),
)
