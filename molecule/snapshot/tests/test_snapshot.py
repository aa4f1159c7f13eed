"""The look from before lies on the host, with what it was made under; its secrets are fingerprints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testinfra.host import Host

testinfra_hosts = ["ssh://miner-1"]


def stored(host: Host, state: dict[str, Any]) -> dict[str, Any]:
    path = f"/var/lib/benchkeeper/runs/{state['run_id']}/miner-1/before.json"
    found: dict[str, Any] = json.loads(host.check_output(f"sudo cat {path}"))
    return found


def test_the_look_has_what_the_profile_asks_for(host: Host, state: dict[str, Any], context: dict[str, Any]) -> None:
    snapshot = stored(host, state)["snapshot"]
    probes = next(one["look"] for one in context["hosts"] if one["name"] == "miner-1")
    assert {*snapshot["invariant"], *snapshot["observed"]} == {*probes}
    assert snapshot["errors"] == {}
    assert snapshot["invariant"]["config"]["mode"] == "0600"
    assert snapshot["observed"]["summary"]["json"]["connection"]["accepted"] > 0


def test_no_secret_of_the_miner_is_in_it(host: Host, state: dict[str, Any]) -> None:
    password = json.loads(host.check_output("sudo cat /opt/rigforge/data/worker/xmrig/build/config.json"))["pools"][0]["pass"]
    assert password
    assert password not in json.dumps(stored(host, state))


def test_only_root_reads_it(host: Host, state: dict[str, Any]) -> None:
    assert host.run(f"ls /var/lib/benchkeeper/runs/{state['run_id']}").rc != 0
