"""What the keeper puts on a machine besides itself, and takes away again: static units, or a table of cron.

They are the same for every lease, so that taking one changes no unit file. A generator, a few lines of shell that systemd runs at
each boot before it loads units, lets the units that read guarded files wait for boot stage 1.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from keeper.errors import BUSY, FAILED, KeeperError
from keeper.guards import ETC, FOLDER
from keeper.store import ROOT
from keeper.triggers import BOOT, LOCK, RESTORE, STAMP, SWEEP, SWEPT_BY

if TYPE_CHECKING:
    from keeper.core import Keeper
    from keeper.ports import Executor

PROGRAM = "/usr/local/lib/benchkeeper/keeper"
COMMAND = "/usr/local/sbin/keeper"
SYSTEM = "/etc/systemd/system"
GENERATOR = "/etc/systemd/system-generators/benchkeeper"
CRON = "/etc/cron.d/benchkeeper"
ARMED = (f"{SWEEP}.timer", f"{BOOT}.service")
# Every run that is not cleaned up has its key here: something on this machine may have to go back.
OWED = f"ConditionPathExistsGlob={ROOT}/runs/*/*/key"
_HEAD = "# Made by Benchkeeper's keeper; `keeper uninstall` takes it away.\n"

UNITS: Dict[str, str] = {
    f"{SYSTEM}/{SWEEP}.timer": f"""\
[Unit]
Description=Benchkeeper: look whether something borrowed has to go back

[Timer]
OnActiveSec=0
OnUnitInactiveSec=1s
AccuracySec=100ms
Unit={SWEEP}.service

[Install]
WantedBy=timers.target
""",
    f"{SYSTEM}/{SWEEP}.service": f"""\
[Unit]
Description=Benchkeeper: look whether something borrowed has to go back
{OWED}
StartLimitIntervalSec=0

[Service]
Type=oneshot
Environment={SWEPT_BY}=systemd
ExecStart={PROGRAM} sweep
TimeoutStartSec=60s
# It comes every second while nothing is borrowed; only what is wrong belongs in the log.
LogLevelMax=notice
""",
    f"{SYSTEM}/{RESTORE}.service": f"""\
[Unit]
Description=Benchkeeper: put back what was borrowed, and prove it
After=network.target docker.service containerd.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={PROGRAM} restore-due
TimeoutStartSec=3600s
""",
    f"{SYSTEM}/{BOOT}.service": f"""\
[Unit]
Description=Benchkeeper: put borrowed files back before anything reads them
DefaultDependencies=no
RequiresMountsFor={ROOT} /usr/local
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target
{OWED}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={PROGRAM} boot
TimeoutStartSec=60s

[Install]
WantedBy=sysinit.target
""",
    f"{SYSTEM}/{LOCK}.service": f"""\
[Unit]
Description=Benchkeeper: hold the product's own lock for %i
StartLimitIntervalSec=0

[Service]
ExecStart={PROGRAM} lock-hold %i
Restart=always
RestartSec=1s
""",
    GENERATOR: f"""\
#!/bin/sh
# Made by Benchkeeper's keeper; `keeper uninstall` takes it away.
# A unit that reads a borrowed file does not start at a boot before the file is back.
for guard in {ETC}/{FOLDER}/*; do
    [ -f "$guard" ] || continue
    mkdir -p "$1/${{guard##*/}}.d" || continue
    printf '[Unit]\\nRequires={BOOT}.service\\nAfter={BOOT}.service\\n' >"$1/${{guard##*/}}.d/50-benchkeeper.conf"
done
""",
}
TABLE: Dict[str, str] = {
    CRON: f"""\
{_HEAD}SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{SWEPT_BY}=cron
@reboot root {PROGRAM} boot >/dev/null 2>&1
* * * * * root {PROGRAM} sweep --seconds 55 >/dev/null 2>&1
""",
}


def files_of(*, systemd: bool) -> Dict[str, str]:
    """Return the files that belong on a machine, by path."""
    return UNITS if systemd else TABLE


def installed(*, systemd: bool, root: str = "") -> bool:
    """Whether every file is there as this version wants it."""
    return all(_read(Path(root + path)) == text for path, text in files_of(systemd=systemd).items())


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> bool:
    """Write a file as a whole; return whether it changed."""
    if _read(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.benchkeeper")
    temporary.write_text(text, encoding="ascii")
    temporary.chmod(0o755 if text.startswith("#!") else 0o644)
    temporary.replace(path)
    return True


def _systemctl(executor: Executor, *words: str) -> None:
    done = executor.run(["systemctl", *words], 60.0)
    if done.rc != 0:
        raise KeeperError(FAILED, f"systemctl {' '.join(words)}: {done.err.strip()[-300:]}")


def check_unused(keeper: Keeper) -> None:
    """Refuse while anything is leased or not put back. Raises KeeperError(busy)."""
    for resource in keeper.store.resources():
        lease = keeper.lease(resource)
        if lease.state != "free":
            who = lease.holder.get("user", "?")
            raise KeeperError(BUSY, f"{resource} is {lease.state} for run {lease.run_id} of {who}; nothing was changed")


def install(executor: Executor, *, systemd: bool, root: str = "") -> bool:
    """Put the units (or the table) in place and start the timer; return whether anything changed."""
    changed = [_write(Path(root + path), text) for path, text in files_of(systemd=systemd).items()]
    if systemd and not root:
        if any(changed):
            _systemctl(executor, "daemon-reload")
        state = executor.run(["systemctl", "is-enabled", *ARMED], 15.0)
        active = executor.run(["systemctl", "is-active", ARMED[0]], 15.0)
        if any(changed) or state.rc != 0 or active.rc != 0:
            _systemctl(executor, "enable", "--quiet", *ARMED)
            # Started anew: a timer that was changed under it would go on as it was.
            _systemctl(executor, "restart", ARMED[0])
            return True
    return any(changed)


def uninstall(keeper: Keeper, executor: Executor, *, systemd: bool, root: str = "") -> List[str]:
    """Take everything away but the tokens, which must never be given twice; return what was removed.

    Raises:
        KeeperError: busy, while anything is leased or not put back.
    """
    check_unused(keeper)
    removed: List[str] = []
    if systemd and not root:
        executor.run(["systemctl", "disable", "--quiet", "--now", *ARMED], 60.0)
        executor.run(["systemctl", "stop", f"{SWEEP}.service"], 60.0)  # late writes may still be looked for
    for path in [*files_of(systemd=systemd), PROGRAM, COMMAND]:
        place = Path(root + path)
        if place.is_symlink() or place.exists():
            place.unlink()
            removed.append(path)
    for path in (f"{ETC}/{FOLDER}", ETC, str(Path(PROGRAM).parent), str(Path(GENERATOR).parent)):
        with contextlib.suppress(OSError):
            Path(root + path).rmdir()
            removed.append(path)
    for path in (f"{ROOT}/runs", f"{ROOT}/leases", f"{ROOT}/queue", str(Path(STAMP).parent)):
        if Path(root + path).is_dir():
            shutil.rmtree(root + path)
            removed.append(path)
    for lock in Path(root + ROOT).glob("*.lock"):
        lock.unlink()
    if systemd and not root:
        _systemctl(executor, "daemon-reload")
    return removed
