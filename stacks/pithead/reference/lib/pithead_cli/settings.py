"""config.json: a closed schema whose keys, types and defaults are those of config.reference.json."""

from __future__ import annotations

import ipaddress
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pithead_cli.addresses import monero_problem, tari_problem
from pithead_cli.say import Refusal

CHOICES = {
    "p2pool.pool": ("main", "mini", "nano"),
    "monero.mode": ("local", "remote"),
    "tari.mode": ("local", "remote", "off"),
    "workers.api_auth": ("none", "name", "token"),
}
FREE = {"dashboard.energy", "telegram.events"}  # their keys are not part of the schema
PORTS = (
    "p2pool.stratum_port",
    "monero.remote.rpc_port",
    "monero.remote.zmq_port",
    "tari.remote.grpc_port",
    "workers.api_port",
)
MAX_SIZE = 256 * 1024


@dataclass(frozen=True)
class Settings:
    """A configuration with every default filled in, read by dotted path."""

    values: dict[str, Any]

    def __getitem__(self, path: str) -> Any:
        """Give the value at a dotted path."""
        at: Any = self.values
        for part in path.split("."):
            at = at[part]
        return at

    def text(self, path: str) -> str:
        """Give a value as text, `auto` as ''."""
        value = self[path]
        return "" if value == "auto" else str(value)

    def flag(self, path: str) -> str:
        """Give a boolean as .env spells it."""
        return "true" if self[path] else "false"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or refuse with a reason a person can act on."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        message = f"{path} does not exist. Copy config.minimal.json to config.json and fill in your wallets."
        raise Refusal(message) from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise Refusal(message) from None
    if len(raw) > MAX_SIZE:
        message = f"{path} is larger than {MAX_SIZE} bytes"
        raise Refusal(message)
    try:
        value = json.loads(raw)
    except ValueError as error:
        message = f"{path} is not valid JSON: {error}"
        raise Refusal(message) from None
    if not isinstance(value, dict):
        message = f"{path} is not a JSON object"
        raise Refusal(message)
    return value


def load(config: Path, reference: Path) -> Settings:
    """Read a configuration and check all of it; Refusal lists every problem at once."""
    given, defaults = read_json(config), read_json(reference)
    problems = list(_schema_problems(given, defaults, ""))
    if problems:
        raise Refusal(_listed(config, problems))
    settings = Settings(_merged(defaults, given))
    problems = _value_problems(settings)
    if problems:
        raise Refusal(_listed(config, problems))
    return settings


def _listed(config: Path, problems: list[str]) -> str:
    return f"{config.name} is refused:\n" + "\n".join(f"  - {problem}" for problem in problems)


def _schema_problems(given: dict[str, Any], known: dict[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for key, value in given.items():
        path = f"{prefix}{key}"
        if key not in known:
            found.append(f"{path!r} is not a known key")
            continue
        default = known[key]
        if isinstance(default, dict) and isinstance(value, dict):
            if path not in FREE:
                found += _schema_problems(value, default, f"{path}.")
        elif not _same_type(value, default):
            found.append(f"{path} must be {_kind(default)}, not {_kind(value)}")
        found += [f"{path} contains a control character" for text in _texts(value) if _has_control(text)]
    return found


def _same_type(value: Any, default: Any) -> bool:
    if default == "auto":
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    return type(value) is type(default)


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", str: "a string", list: "a list", dict: "an object", float: "a number"}
    return names.get(type(value), "null")


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), *_texts(item))]
    return []


def _has_control(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} for char in text)


def _merged(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(defaults.get(key), dict)
        merged[key] = _merged(defaults[key], value) if both else value
    return merged


def _value_problems(settings: Settings) -> list[str]:
    found = [f"{path} must be one of {', '.join(allowed)}" for path, allowed in CHOICES.items() if settings[path] not in allowed]
    found += [f"{path} must be a port number" for path in PORTS if not 1 <= settings[path] <= 65535]
    wrong = monero_problem(settings["monero.wallet_address"])
    if wrong:
        found.append(f"monero.wallet_address: {wrong}")
    if settings["tari.mode"] != "off":
        wrong = tari_problem(settings["tari.wallet_address"])
        if wrong:
            found.append(f"tari.wallet_address: {wrong}")
    for chain in ("monero", "tari"):
        host = settings[f"{chain}.remote.host"]
        if settings[f"{chain}.mode"] == "remote" and (not host or "/" in host or "@" in host):
            found.append(f"{chain}.remote.host must be a bare host name or address")
    if not 8 <= settings["monero.out_peers"] <= 1024:
        found.append("monero.out_peers must be between 8 and 1024")
    try:
        if ipaddress.ip_network(settings["network.subnet"]).prefixlen != 24:
            found.append("network.subnet must be a /24")
    except ValueError:
        found.append("network.subnet must be a network such as 172.28.0.0/24")
    for path in ("monero.data_dir", "tari.data_dir", "p2pool.data_dir", "dashboard.data_dir", "tor.data_dir"):
        if settings.text(path) and not Path(settings.text(path)).is_absolute():
            found.append(f"{path} must be absolute or auto")
    return found
