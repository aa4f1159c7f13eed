"""The miner mines on the bench, its owner's pools behind ours; the original is staged beside the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

testinfra_hosts = ["ssh://miner-1"]


FOLDER = "/opt/rigforge/data/worker/xmrig/build"


def pools(host: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.check_output(f"sudo cat {FOLDER}/config.json"))["pools"]
    return found


def test_the_bench_stands_first_and_the_owner_behind_it(host: Host, state: dict[str, Any]) -> None:
    found = pools(host)
    assert found[0]["url"] == "bench-0:3333"
    assert found[0]["rig-id"] == f"benchkeeper-{state['run_id']}"
    assert [pool["url"] for pool in found[1:]] == ["pool-0:3333"]


def test_the_miner_is_connected_to_the_bench(host: Host) -> None:
    summary = json.loads(host.check_output("curl -fsS http://127.0.0.1:8080/2/summary"))
    assert summary["connection"]["pool"] == "bench-0:3333"


def test_the_original_waits_beside_it(host: Host, lease: Callable[[], dict[str, Any]]) -> None:
    item = next(one for one in lease()["items"] if one["item"] == "miner-config")
    with host.sudo():
        original = host.file(f"{FOLDER}/{item['original']}")
        assert (original.user, oct(original.mode)) == ("ops", "0o600")
        assert [pool["url"] for pool in json.loads(original.content_string)["pools"]] == ["pool-0:3333"]
