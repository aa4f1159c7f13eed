"""The command line: verbs, their options, chains of verbs, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pithead_cli import archive, change, look
from pithead_cli.engine import Compose
from pithead_cli.host import Place
from pithead_cli.say import Refusal, error

CHAINABLE = {"apply", "up", "down", "restart", "upgrade", "status", "doctor", "backup"}
ONE_OF = {"up", "down", "restart"}


@dataclass(frozen=True)
class Verb:
    """One verb: what it does in a line, its options, how many other words it takes, and its code."""

    about: str
    run: Callable[[Place, set[str], list[str]], int | None]
    options: dict[str, str] = field(default_factory=dict)
    words: tuple[int, int] = (0, 0)
    choices: tuple[str, ...] = ()


def _apply(place: Place, given: set[str], _words: list[str]) -> None:
    if "--porcelain" in given and "--dry-run" not in given:
        message = "--porcelain only goes with --dry-run"
        raise Refusal(message)
    change.apply(place, yes="-y" in given, dry_run="--dry-run" in given, porcelain="--porcelain" in given)


def _backup(place: Place, given: set[str], _words: list[str]) -> None:
    archive.backup(place, yes="-y" in given, encrypt="--no-encrypt" not in given, chains="--with-chains" in given)


def _logs(place: Place, _given: set[str], words: list[str]) -> int:
    compose = Compose(place)
    os.execvpe("docker", compose.argv("logs", "-f", *words), os.environ | compose.extra())  # noqa: S606 - a passthrough


YES = {"-y": "do not ask", "--yes": "do not ask"}
VERBS: dict[str, Verb] = {
    "setup": Verb(
        "make a stack out of this checkout and config.json",
        lambda place, given, _words: change.setup(place, skip_deps="--skip-deps" in given),
        {"--skip-deps": "do not look for programs", "--skip-optimize": "leave the kernel's settings alone"},
    ),
    "apply": Verb(
        "bring the running stack to what config.json says (never builds)",
        _apply,
        {**YES, "--dry-run": "only say what would change", "--porcelain": "say it for programs"},
    ),
    "render": Verb("write .env and Caddyfile, touch no container", lambda place, _given, _words: change.render(place)),
    "up": Verb("start the stack", lambda place, _given, _words: change.up(place)),
    "down": Verb("stop the stack", lambda place, _given, _words: change.down(place)),
    "restart": Verb(
        "restart the stack, or one of tor and monerod",
        lambda place, _given, words: change.restart(place, words[0] if words else None),
        words=(0, 1),
        choices=("tor", "monerod"),
    ),
    "upgrade": Verb("render, rebuild this checkout's images, recreate", lambda place, _given, _words: change.upgrade(place)),
    "status": Verb("print every service; exit code 1 when one needs attention", lambda place, _given, _words: look.status(place)),
    "doctor": Verb(
        "look for everything that may be wrong",
        lambda place, given, _words: look.doctor(place, as_json="--json" in given),
        {"--json": "print a document for programs"},
    ),
    "logs": Verb("follow the services' logs", _logs, words=(0, 99)),
    "backup": Verb(
        "archive configuration, secrets, onion keys and the dashboard's data",
        _backup,
        {**YES, "--no-encrypt": "write a plain archive", "--with-chains": "archive the chains too"},
    ),
    "restore": Verb(
        "put an archive back (the stack must be down)",
        lambda place, given, words: archive.restore(place, Path(words[0]), yes="-y" in given),
        YES,
        words=(1, 1),
    ),
    "rotate-secrets": Verb(
        "make a new node password and proxy token",
        lambda place, given, _words: change.rotate_secrets(place, yes="-y" in given),
        YES,
    ),
    "version": Verb("print the version", lambda place, _given, _words: look.version(place)),
}


def usage(only: str | None = None) -> str:
    """Give the help text, of one verb or of all."""
    lines = ["usage: ./pithead VERB [OPTION...]", ""]
    for name, verb in VERBS.items():
        if only in {None, name}:
            lines.append(f"  {name:<15} {verb.about}")
            lines += [f"      {option:<16} {about}" for option, about in verb.options.items() if only == name or option != "--yes"]
    return "\n".join([*lines, "", f"Bare verbs can be chained: {' '.join(sorted(CHAINABLE))}."])


def main(directory: Path, argv: list[str]) -> int:
    """Run the command line; gives the exit code."""
    os.chdir(directory)
    place = Place(directory)
    try:
        if not argv:
            deployed = place.env.exists() and "DEPLOYMENT_COMPLETED=true" in place.env.read_text()
            argv = ["help"] if deployed else ["setup"]
        return _dispatch(place, argv)
    except Refusal as refusal:
        error(str(refusal))
        return refusal.code
    except KeyboardInterrupt:
        return 130


def _dispatch(place: Place, argv: list[str]) -> int:
    name = argv[0]
    if name in {"help", "-h", "--help"}:
        print(usage())
        return 0
    if name not in VERBS:
        message = f"unknown verb {name!r}; ./pithead help lists them"
        raise Refusal(message)
    if name != "logs" and {"-h", "--help"} & set(argv):
        print(usage(name))
        return 0
    if len(argv) > 1 and all(word in CHAINABLE for word in argv):
        return _chain(place, argv)
    return _one(place, name, argv[1:])


def _chain(place: Place, names: list[str]) -> int:
    if len(set(names)) != len(names) or len(ONE_OF & set(names)) > 1 or "down" in names[:-1]:
        message = "a chain has each verb once, one of up, down, restart at most, and down last"
        raise Refusal(message)
    for name in names:
        code = _one(place, name, [])
        if code:
            return code
    return 0


def _one(place: Place, name: str, rest: list[str]) -> int:
    verb = VERBS[name]
    if name == "logs":
        return verb.run(place, set(), rest) or 0
    given = {word for word in rest if word.startswith("-")}
    words = [word for word in rest if not word.startswith("-")]
    unknown = given - set(verb.options)
    if unknown:
        message = f"{name} has no option {min(unknown)}"
        raise Refusal(message)
    if not verb.words[0] <= len(words) <= verb.words[1] or (verb.choices and not set(words) <= set(verb.choices)):
        message = f"{name} does not take {' '.join(words) or 'no argument'!r}"
        raise Refusal(message)
    if "--yes" in given:
        given.add("-y")
    return verb.run(place, given, words) or 0


def entry(script: str) -> None:
    """Start from the script's own physical directory."""
    sys.exit(main(Path(script).resolve().parent, sys.argv[1:]))
