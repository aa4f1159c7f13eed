"""Redaction by shape: what looks like a secret although nobody told us its value.

The names come from ``_secret_names``. Kept on purpose: private addresses, timestamps, image digests and other hashes.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Callable, List, Match, Pattern, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import STRONG, SUFFIXES, is_secret, is_strong

MASK = "[redacted]"
_OPAQUE = 90  # characters: a Monero address has 95, a SHA-256 digest with its prefix 71
_PATH_SHARE = 10  # a run with fewer than one capital in this many characters and slashes is a path
_DISTINCT = 10  # fewer different characters make a ruler, not a secret


def _any(names: Tuple[str, ...]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


_SHELL_VALUE = r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+"""
_NAME = _any(SUFFIXES)
_HARD = _any(STRONG)
_JSON_STRING = r'"(?:\\.|[^"\\])*"'

_PEM = re.compile(
    r"-----BEGIN (?!CERTIFICATE|PUBLIC)[A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)",
    re.DOTALL,
)


def _keep_opaque(match: Match[str]) -> str:
    run = match[0]
    capitals = sum(1 for char in run if char.isupper())
    if len(set(run)) < _DISTINCT or ("/" in run and capitals * _PATH_SHARE < len(run)):
        return run
    return MASK


def _global_address(match: Match[str]) -> str:
    try:
        return "[public address]" if ipaddress.ip_address(match[0]).is_global else match[0]
    except ValueError:
        return match[0]


def _first_group(match: Match[str]) -> str:
    return match[1] + MASK


def _around(match: Match[str]) -> str:
    return match[1] + MASK + match[2]


def _pair(match: Match[str]) -> str:
    """Mask the value of a pair; an empty one says something, a number is a secret only where the name is sure."""
    before, name, value = match.groups()
    if value in ('""', "''", "[]") or not is_secret(name):
        return match[0]
    quote = value[0] if value[0] in "\"'" else '"'
    if value[0] not in "\"'[" and not is_strong(name):
        return match[0]
    return f"{before}{quote}{MASK}{quote}"


def _inner_pair(match: Match[str]) -> str:
    return match[1] + MASK if is_secret(match[2]) else match[0]


Replace = Callable[[Match[str]], str]
_RULES: Tuple[Tuple[Pattern[str], Replace], ...] = (
    (_PEM, lambda _match: MASK),
    # Headers
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"), _first_group),
    (re.compile(r"(?i)\b((?:set-)?cookie:\s*)[^\r\n]+"), _first_group),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}"), _first_group),
    (re.compile(r"\b(Basic\s+)(?=[a-z]*[^a-z\s])[A-Za-z0-9+/=]{8,}"), _first_group),
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+(@)", re.IGNORECASE), _around),
    # KEY=value as in settings files, and key=value in prose where the name leaves no doubt
    (re.compile(rf"(?<![A-Za-z0-9])((?:[A-Z0-9]+_)*(?:{_NAME.upper()})=)(?!\s|$){_SHELL_VALUE}"), _first_group),
    (
        re.compile(rf"(?i)(?<![\w-])([\w-]*(?:password|passwd|passphrase|secret|token)=)(?!\s|$){_SHELL_VALUE}"),
        _first_group,
    ),
    # "key": "value", also a number or a list; 'key': 'value' as Python writes it; JSON inside a JSON string
    (re.compile(rf'("([\w.-]+)"\s*:\s*)({_JSON_STRING}|-?\d[\d.eE+-]*|\[[^\[\]]*\])'), _pair),
    (re.compile(r"('([\w.-]+)'\s*:\s*)('(?:\\.|[^'\\])*')"), _pair),
    (re.compile(r'(\\+"([\w.-]+)\\+"\s*:\s*\\+")(?!\\+")(.*?)(?=\\+")'), _inner_pair),
    # key: value as YAML does, where the name leaves no doubt
    (
        re.compile(
            r"(?im)^(\s*(?:- )?[\w.-]*(?:password|passwd|passphrase|secret|token):[ \t]+)"
            r"(?![\[\{|>&*]|null\b)\S[^\r\n]*"
        ),
        _first_group,
    ),
    # Flags
    (re.compile(r"(--merge-mine[ =]\S+\s+)\S+"), _first_group),
    (
        re.compile(rf"(?i)((?<![\w-])--[\w-]*(?:login|pass|user|wallet|{_HARD})(?:=|\s+))(?!-){_SHELL_VALUE}"),
        _first_group,
    ),
    # Onion addresses
    (re.compile(r"(?<![a-z0-9])[a-z2-7]{56}(?![a-z0-9])"), lambda _match: MASK),
    (re.compile(rf"[A-Za-z0-9+/=_-]{{{_OPAQUE},}}"), _keep_opaque),
)
_ADDRESSES: Tuple[Tuple[Pattern[str], Replace], ...] = (
    (re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.-]*\w)"), _global_address),
    (re.compile(r"(?<![\w.:])(?:[0-9A-Fa-f]{1,4}:|:){2,7}(?::?[0-9A-Fa-f]{1,4})?(?![\w:])"), _global_address),
)


def redact_shapes(text: str, *, addresses: bool = True) -> str:
    """Return a text without what looks like a secret, and without public addresses unless they are wanted.

    Doing it twice changes nothing.
    """
    for pattern, replace in _RULES + (_ADDRESSES if addresses else ()):
        text = pattern.sub(replace, text)
    return text


def open_block(text: str) -> int:
    """Return where a PEM block begins that the text does not end, or -1."""
    start = text.rfind("-----BEGIN ")
    return start if start >= 0 and "-----END " not in text[start:] else -1


def rules() -> List[str]:
    """Return the patterns, for a reader of the documentation."""
    return [pattern.pattern for pattern, _replace in _RULES + _ADDRESSES]
