"""The baseline is what a live bench and its miners have: real services, real files, owners and modes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

CONFIG = "/opt/rigforge/data/worker/xmrig/build/config.json"
LIVE = "/srv/code/pithead"


@pytest.mark.parametrize("name", ["miner-0", "miner-1"])
def test_a_miner_hashes_as_a_unit_that_comes_back_after_a_boot(name: str, on: Callable[[str], Host]) -> None:
    miner = on(name)
    unit = miner.service("xmrig.service")
    assert (unit.is_running, unit.is_enabled) == (True, True)
    assert json.loads(miner.check_output("curl -fsS http://127.0.0.1:8080/2/summary"))["worker_id"] == name


@pytest.mark.parametrize("name", ["miner-0", "miner-1"])
def test_a_miner_keeps_its_secrets(name: str, on: Callable[[str], Host]) -> None:
    with on(name).sudo():
        config = on(name).file(CONFIG)
        assert (config.user, oct(config.mode)) == ("ops", "0o600")


def test_every_service_of_the_bench_runs_and_is_healthy(on: Callable[[str], Host]) -> None:
    lines = on("bench-0").check_output("docker ps -a --format '{{.Names}} {{.State}} {{.Status}}'").splitlines()
    assert len(lines) == 9
    assert [line for line in lines if " running " not in line or "(healthy)" not in line] == []


def test_the_live_directory_is_a_clean_checkout_of_main(on: Callable[[str], Host]) -> None:
    bench = on("bench-0")
    assert bench.check_output(f"git -C {LIVE} branch --show-current") == "main"
    assert bench.check_output(f"git -C {LIVE} status --porcelain") == ""
    for name in ("config.json", ".env"):
        file = bench.file(f"{LIVE}/{name}")
        assert (file.user, oct(file.mode)) == ("ops", "0o600"), name


def test_the_stack_says_that_it_is_well(on: Callable[[str], Host]) -> None:
    assert on("bench-0").run(f"cd {LIVE} && ./pithead status").rc == 0
