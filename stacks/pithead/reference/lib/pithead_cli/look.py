"""Verbs that only look: status, doctor, version."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator

from pithead_cli import envfile, host, settings
from pithead_cli.addresses import monero_problem
from pithead_cli.engine import Compose, Container, containers, dashboard_state, engine_get, live_directory
from pithead_cli.host import Place, as_root
from pithead_cli.say import Refusal, error, info, information_to_stderr, warning

EXCUSED = {"p2pool", "xmrig-proxy"}  # the dashboard stops them on purpose: node down, or chains not synced
STOPPED = {"created", "exited"}
Row = tuple[str, str]


def judge(service: str, found: Container | None) -> tuple[bool, str]:
    """Tell whether a service is as it should be, and in which words."""
    if found is None:
        return False, "missing"
    if found.state == "running":
        return found.health != "unhealthy", f"running ({found.health})" if found.health else "running"
    if service in EXCUSED and found.state in STOPPED:
        return True, f"{found.state}, likely intentional (node-down failover or sync hold)"
    return False, found.state


def status(place: Place) -> int:
    """Print every expected service; 0 when all are up."""
    values = envfile.read(place.env)
    wanted = Compose(place).services()
    found = containers()
    problems = 0
    for service in sorted(wanted):
        good, words = judge(service, found.get(service))
        problems += not good
        print(f"  {'ok ' if good else 'BAD'} {service:<15} {words}")
    state = dashboard_state()
    for chain, sync in ((state or {}).get("sync") or {}).items():
        if sync.get("state") != "done":
            print(f"  {chain} is {sync.get('state')}: {sync.get('current')} of {sync.get('target')}")
    if state is None:
        warning("the dashboard does not answer on 127.0.0.1:8000")
    onion = values.get("DASHBOARD_ONION_ADDRESS", "")
    if onion.endswith(".onion"):
        print(f"  dashboard onion: {onion}")
    if values.get("PROXY_STRATUM_PASSWORD"):
        print(f"  stratum password: {values['PROXY_STRATUM_PASSWORD']}")
    if problems:
        error(f"{problems} service(s) need attention")
        return 1
    info("All expected services are up.")
    return 0


def version(place: Place) -> None:
    """Print which version this is."""
    if not place.source_checkout:
        print(f"pithead v{place.version} (release images v{place.version})")
        return
    git = ["git", "-C", str(place.directory), "rev-parse"]
    branch = subprocess.run([*git, "--abbrev-ref", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"pithead dev ({branch or 'unknown'} @ {place.revision()[:12]}, VERSION {place.version})")


def doctor(place: Place, *, as_json: bool) -> int:
    """Look at everything that may be wrong; 1 when something failed."""
    if as_json:
        information_to_stderr()
    rows = [(section, row) for section, check in CHECKS.items() for row in _safely(check, place)]
    counts = {kind: sum(row[0] == kind for _, row in rows) for kind in ("ok", "warn", "fail")}
    seen = ""
    for section, (kind, message) in rows:
        if section != seen:
            info(f"{section}:")
            seen = section
        info(f"  [{kind.upper():<4}] {message}")
    info(f"Diagnostics summary: {counts['ok']} OK, {counts['warn']} warning(s), {counts['fail']} failure(s).")
    if not counts["warn"] and not counts["fail"]:
        info("All checks passed.")
    code = 1 if counts["fail"] else 0
    if as_json:
        checks = [{"status": kind, "message": message} for _, (kind, message) in rows]
        print(json.dumps({"version": place.version, "exit": code, "summary": counts, "checks": checks}))
    return code


def _safely(check: Callable[[Place], Iterator[Row]], place: Place) -> list[Row]:
    try:
        return list(check(place))
    except Refusal as refusal:
        return [("fail", str(refusal))]


def _dependencies(_place: Place) -> Iterator[Row]:
    missing = host.missing_programs()
    yield ("fail", f"missing: {', '.join(missing)}") if missing else ("ok", "all programs are installed")


def _daemon(_place: Place) -> Iterator[Row]:
    yield "ok", f"the engine answers (version {engine_get('/version')['Version']})"


def _control(place: Place) -> Iterator[Row]:
    live = live_directory()
    if live is not None and live != place.directory:
        yield "info", "This is not the live install."
    elif envfile.read(place.env).get("DASHBOARD_CONTROL_ENABLED") == "true":
        yield "warn", "the control channel is enabled but this build has no runner for it"
    else:
        yield "ok", "Disabled for this install."


def _payout(place: Place) -> Iterator[Row]:
    wrong = monero_problem(settings.load(place.config, place.reference)["monero.wallet_address"])
    yield ("fail", f"Monero payout address: {wrong}") if wrong else ("ok", "Monero payout address is a valid standard address")


def _network(place: Place) -> Iterator[Row]:
    values = envfile.read(place.env)
    proxy = containers().get("xmrig-proxy")
    address = f"{values.get('STRATUM_BIND')}:{values.get('STRATUM_PORT')}"
    if proxy is not None and proxy.state == "running":
        yield "ok", f"stratum is published on {address}: workers can connect"
    else:
        yield "warn", f"stratum on {address} is closed while xmrig-proxy is stopped"
    tor = containers().get("tor")
    yield ("ok", "tor is running") if tor is not None and tor.state == "running" else ("fail", "tor is not running")
    if values.get("TOR_DISABLE_NETWORK") == "1":
        yield "info", "this host is offline by configuration; no egress firewall is needed"


def _disk(place: Place) -> Iterator[Row]:
    values = envfile.read(place.env)
    for key in ("MONERO_DATA_DIR", "TARI_DATA_DIR", "P2POOL_DATA_DIR", "DASHBOARD_DATA_DIR"):
        try:
            free = shutil.disk_usage(values.get(key, "/")).free
        except OSError:
            yield "fail", f"{key} does not exist"
            continue
        yield ("ok" if free > 2_000_000_000 else "warn"), f"{key}: {free // 1_000_000} MB free"


def _deployment(place: Place) -> Iterator[Row]:
    try:
        mode = stat.S_IMODE(place.env.stat().st_mode)
    except FileNotFoundError:
        yield "fail", ".env does not exist: run ./pithead setup"
        return
    yield ("ok", ".env is readable by its owner alone") if mode == 0o600 else ("fail", f".env has mode {mode:04o}, 0600 expected")
    done = envfile.read(place.env).get("DEPLOYMENT_COMPLETED") == "true"
    yield ("ok", "setup is completed") if done else ("fail", "setup is not completed")
    if place.incomplete.exists():
        yield "warn", "the last apply did not finish: run ./pithead apply"


def _onions(place: Place) -> Iterator[Row]:
    values = envfile.read(place.env)
    for name in ("MONERO", "TARI", "P2POOL"):
        key = f"{values.get('TOR_DATA_DIR')}/{name.lower()}/hs_ed25519_secret_key"
        there = not host.run(as_root(["test", "-s", key]), quiet=True)
        yield ("ok", f"{name.lower()} onion key is there") if there else ("fail", f"{name.lower()} onion key is missing")


def _containers(place: Place) -> Iterator[Row]:
    found = containers()
    for service in sorted(Compose(place).services()):
        good, words = judge(service, found.get(service))
        excused = service in EXCUSED and good and not words.startswith("running")
        yield ("warn" if excused else "ok" if good else "fail"), f"{service} is {words}"


def _dashboard(place: Place) -> Iterator[Row]:
    state = dashboard_state()
    if state is None:
        yield "fail", "the dashboard does not answer on 127.0.0.1:8000"
        return
    yield "ok", "the dashboard answers on 127.0.0.1:8000"
    if "local_node" in envfile.read(place.env).get("COMPOSE_PROFILES", "").split(","):
        done = state["sync"]["monero"]["state"] == "done"
        yield ("ok", "monerod is synchronized") if done else ("warn", "monerod is not synchronized yet")


CHECKS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "Dependencies": _dependencies,
    "Docker daemon": _daemon,
    "Dashboard control channel": _control,
    "Payout addresses": _payout,
    "Network": _network,
    "Disk": _disk,
    "Deployment": _deployment,
    "Onion services": _onions,
    "Containers": _containers,
    "Dashboard": _dashboard,
}
