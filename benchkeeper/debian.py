"""What this computer's own Debian or Ubuntu sources say: release, mirror, keyring. Pure parsers over the files' text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchkeeper.errors import UnfitError

APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """One archive: address, suite, components, and the keyring it is signed by (empty: apt's default)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def os_release(text: str) -> dict[str, str]:
    """Parse os-release."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def this_release() -> dict[str, str]:
    """Return os-release of this computer; empty where there is none."""
    path = Path("/etc/os-release")
    return os_release(path.read_text(encoding="utf-8")) if path.is_file() else {}


def parse_list(text: str) -> list[Source]:
    """Parse one-line sources (`deb [options] URI suite component...`)."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            options = dict(item.partition("=")[::2] for item in (match[1] or "").split())
            found.append(Source(match[2], match[3], tuple(match[4].split()), options.get("signed-by", "")))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Parse deb822 stanzas; disabled ones and source-only ones are left out."""
    found = []
    for stanza in re.split(r"\n\s*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and key:
                fields[key] += " " + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        found += [
            Source(uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by", ""))
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return found


def sources(apt: Path = APT) -> list[Source]:
    """Return every enabled source of this computer, in apt's order."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            found += parse_list(path.read_text(encoding="utf-8", errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text(encoding="utf-8", errors="replace"))
    return found


def main_mirror(known: list[Source], codename: str) -> Source:
    """Return the archive that carries `codename` itself with component main."""
    for source in known:
        if source.suite == codename and "main" in source.components:
            return source
    raise UnfitError(f"no source of {codename} main among this computer's package sources")


def security_mirror(known: list[Source], codename: str) -> Source | None:
    """Return the security archive of `codename`, if there is one."""
    return next((source for source in known if source.suite == f"{codename}-security" and "main" in source.components), None)
