"""The real entry points, by subprocess, on the embedded bench of this checkout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 1500  # seconds for the longest command


class Bench:
    """What a person types, and what is there afterwards."""

    def __init__(self) -> None:
        self.root = ROOT

    def run(self, *words: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(ROOT / "bench"), *words], cwd="/", capture_output=True, text=True, timeout=timeout, check=False)
        print(f"$ ./bench {' '.join(words)}  -> {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def status(self) -> dict[str, Any]:
        found = json.loads(self.run("status", "--json", timeout=60).stdout)
        assert isinstance(found, dict)
        return found

    def result(self) -> dict[str, Any]:
        found = json.loads((ROOT / "results" / "latest" / "result.json").read_text(encoding="utf-8"))
        assert isinstance(found, dict)
        return found

    def ssh(self, host: str, *words: str) -> str:
        config = str(ROOT / ".bench" / "ssh" / "config")
        done = subprocess.run(["ssh", "-F", config, host, *words], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def leased(self) -> list[str]:
        return [f"{row['resource']}: {row['state']}" for row in self.status()["leases"] if row["state"] != "free"]

    def owned(self, run_id: str) -> list[str]:
        """Objects of a run that are still on the bench: by label, by name, by directory."""
        left = []
        for kind in ("container", "network", "volume", "image"):
            listing = ["docker", kind, "ls", "-q", "--filter", f"label=benchkeeper.run={run_id}"]
            left += [f"{kind} {line}" for line in self.ssh("bench-0", *(["sudo", *listing])).split()]
        left += [f"tag {line}" for line in self.ssh("bench-0", "sudo", "docker", "image", "ls", "-q", "benchkeeper/keep").split()]
        for host in ("bench-0", "miner-0"):
            names = f"\\( -name '*{run_id}*' -o -name 'pithead-e2e' \\) -not -path '/proc/*' -not -path '/var/lib/benchkeeper/*'"
            find = f"sudo find / -xdev {names} 2>/dev/null"
            left += [f"{host}:{line}" for line in self.ssh(host, find + "; true").split()]
            units = self.ssh(host, "systemctl list-units --all --plain --no-legend 'bk-*'")
            left += [f"{host}: unit {line.split()[0]}" for line in units.splitlines() if line.strip()]
        return left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the crash tier come last: it asks for a whole run of before."""
    items.sort(key=lambda item: (ROOT / "tests" / "e2e" / "crash") in item.path.parents)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()
