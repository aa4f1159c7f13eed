"""Probe exposed: whether a secret of a settings file can be read where anybody on the host, or with an image, reads along."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import EngineError
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import (
    Context,
    ProbeError,
    Seen,
    Spec,
    need,
    printable,
    read_settings,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._regular import why
from ansible_collections.benchkeeper.core.plugins.module_utils._secret_names import SHORTEST

Text = Tuple[str, str]


def _secrets(spec: Spec) -> Dict[str, str]:
    """Return the secrets that are long enough to be searched for, by key; those that are empty cannot be exposed."""
    path = str(need(spec, "file"))
    try:
        values = read_settings(path).values
    except FileNotFoundError as error:
        raise ProbeError(f"{path} is missing") from error
    return {key: values[key] for key in need(spec, "keys") if len(values.get(key, "")) >= SHORTEST}


def _processes(context: Context) -> Iterator[Text]:
    """Yield (name, command line) of every process of the host, those in containers too; a kernel's thread has none."""
    root = f"{context.root}/proc"
    try:
        numbers = [name for name in os.listdir(root) if name.isdigit()]  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise ProbeError(why(error)) from error
    for number in numbers:
        with contextlib.suppress(OSError):  # ended in between
            words = Path(f"{root}/{number}/cmdline").read_bytes().split(b"\0")
            name = Path(f"{root}/{number}/comm").read_text("utf-8", errors="replace").strip()
            yield f"command line of {printable(name)}", b" ".join(words).decode("utf-8", "surrogateescape")


def _container(service: str, document: Mapping[str, Any]) -> Iterator[Text]:
    config = document.get("Config") or {}
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    yield f"command of {service}", " ".join(map(str, words))
    yield f"health check of {service}", " ".join(map(str, (config.get("Healthcheck") or {}).get("Test") or []))
    for key, value in sorted((config.get("Labels") or {}).items()):
        yield f"label {key} of {service}", str(value)


def _engine(project: str, context: Context) -> Iterator[Text]:
    """Yield what the engine tells everybody who may ask it about a project's containers and the making of their images."""
    images: Dict[str, str] = {}
    try:
        for listed in context.engine.project(project):
            service = (listed.get("Labels") or {}).get("com.docker.compose.service", "?")
            document = context.engine.inspect(listed["Id"])
            yield from _container(service, document)
            images.setdefault(str(document.get("Image")), service)
        for image, service in images.items():
            for layer in context.engine.get(f"/images/{image}/history") or []:
                yield f"history of the image of {service}", str(layer.get("CreatedBy"))
    except EngineError as error:
        raise ProbeError(str(error)) from error


def probe_exposed(_name: str, spec: Spec, context: Context) -> Seen:
    """``exposed {file, keys, project}``: where secrets of a settings file stand that must stand nowhere.

    Looked through are the command lines of all processes, and of a compose project's containers the commands, health checks,
    labels, and the history of the images. Observes ``places`` such as ``NODE_PASSWORD: command line of node``, never a value,
    and ``searched``, the keys whose values are long enough to be told from ordinary words.
    """
    secrets = _secrets(spec)
    places = set()
    for texts in (_processes(context), _engine(str(need(spec, "project")), context)):
        for where, text in texts:
            places |= {f"{key}: {where}" for key, value in secrets.items() if value in text}
    return Seen(observed={"places": sorted(places), "searched": sorted(secrets)})
