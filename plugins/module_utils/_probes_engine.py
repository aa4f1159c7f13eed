"""Probes of the container engine: compose, container_file. They read the engine's socket, no command line."""

from __future__ import annotations

import hashlib
import shlex
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    EngineError,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import Context, ProbeError, Seen, Spec, need

_COMPOSE = "com.docker.compose."
_REVISION = "org.opencontainers.image.revision"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - how the engine spells it, nothing is bound here
_NOT_FOUND = 404
_NANOSECONDS = 10**9
_OWN_NAMESPACE = ("", "private", "shareable")
_STOP_TIMEOUT = 10  # seconds, the engine's own


def _list(value: Any) -> List[Any]:
    return sorted(value) if value else []


def _mounts(document: Mapping[str, Any]) -> List[Dict[str, Any]]:
    mounts: List[Dict[str, Any]] = []
    for mount in document.get("Mounts") or []:
        named = mount.get("Type") == "volume"
        where = {"name": mount.get("Name")} if named else {"source": mount.get("Source")}
        mounts.append({"type": mount.get("Type"), **where, "target": mount.get("Destination"), "rw": bool(mount.get("RW"))})
    in_memory = (document.get("HostConfig") or {}).get("Tmpfs") or {}
    mounts += [
        {"type": "tmpfs", "source": "", "target": target, "rw": True, "options": options} for target, options in in_memory.items()
    ]
    return sorted(mounts, key=lambda mount: (str(mount["target"]), str(mount["type"])))


def _ports(document: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """What is really published; for a container that does not run, what would be."""
    running = (document.get("State") or {}).get("Running")
    actual = (document.get("NetworkSettings") or {}).get("Ports") if running else None
    wanted = (document.get("HostConfig") or {}).get("PortBindings")
    ports: List[Dict[str, Any]] = []
    for inner, bindings in (actual or wanted or {}).items():
        port, _slash, protocol = inner.partition("/")
        ports += [
            {
                "host_ip": binding.get("HostIp") or _EVERYWHERE,
                "host_port": int(binding.get("HostPort") or 0),
                "port": int(port),
                "proto": protocol,
            }
            for binding in bindings or []
        ]
    return sorted(ports, key=lambda one: (one["port"], one["proto"], one["host_ip"], one["host_port"]))


def _networks(document: Mapping[str, Any]) -> Dict[str, str]:
    """Return the fixed address in each network; empty where the engine gives out whichever is free at a start."""
    found = {}
    for name, network in ((document.get("NetworkSettings") or {}).get("Networks") or {}).items():
        fixed = (network.get("IPAMConfig") or {}).get("IPv4Address")
        found[name] = fixed or ""
    return dict(sorted(found.items()))


def _uid(document: Mapping[str, Any], context: Context) -> Optional[int]:
    """The user that the container's first process really runs as, in the container's host's numbers."""
    pid = (document.get("State") or {}).get("Pid")
    if not pid:
        return None
    try:
        with open(f"{context.root}/proc/{pid}/status", encoding="ascii", errors="replace") as stream:  # noqa: PTH123
            line = next(line for line in stream if line.startswith("Uid:"))
    except (OSError, StopIteration):
        return None  # ended in between
    return int(line.split()[2])


def _has_healthcheck(config: Mapping[str, Any]) -> bool:
    test = (config.get("Healthcheck") or {}).get("Test") or []
    return bool(test) and test != ["NONE"]


def _health(config: Mapping[str, Any], context: Context) -> Optional[Dict[str, Any]]:
    """What decides whether the container is well; times in seconds, 0 where the engine's own default holds."""
    if not _has_healthcheck(config):
        return None
    check = config["Healthcheck"]
    times = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod", "start_interval": "StartInterval"}
    return {
        "test": [context.redactor.text(str(word)) for word in check["Test"]],
        "retries": check.get("Retries") or 0,
        **{ours: (check.get(theirs) or 0) / _NANOSECONDS for ours, theirs in times.items()},
    }


def _extras(host: Mapping[str, Any]) -> List[str]:
    """What a plain container does not have, each in a word: namespaces of the host, devices, kernel settings, groups, names."""
    modes = {"ipc": "IpcMode", "pid": "PidMode", "userns": "UsernsMode", "uts": "UTSMode"}
    found = [f"{ours}={host[theirs]}" for ours, theirs in modes.items() if (host.get(theirs) or "") not in _OWN_NAMESPACE]
    found += [f"device={device.get('PathOnHost')}" for device in host.get("Devices") or []]
    found += [f"device_request={request.get('Driver') or 'any'}" for request in host.get("DeviceRequests") or []]
    found += [f"sysctl={key}={value}" for key, value in (host.get("Sysctls") or {}).items()]
    lists = {
        "device_rule": "DeviceCgroupRules",
        "dns": "Dns",
        "group": "GroupAdd",
        "host": "ExtraHosts",
        "link": "Links",
        "volumes_from": "VolumesFrom",
    }
    found += [f"{ours}={value}" for ours, theirs in lists.items() for value in host.get(theirs) or []]
    # The engine covers parts of /proc; a container that asked for all of it says so by an empty list.
    if "MaskedPaths" in host and not host["MaskedPaths"]:
        found.append("unmasked=/proc")
    if host.get("OomKillDisable"):
        found.append("oom_kill=off")
    return sorted(found)


def _command(config: Mapping[str, Any], context: Context) -> str:
    """The command line as a shell would read it, redacted."""
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    return context.redactor.text(" ".join(shlex.quote(str(word)) for word in words))


def _restart(host: Mapping[str, Any]) -> str:
    policy = host.get("RestartPolicy") or {}
    count = policy.get("MaximumRetryCount")
    return f"{policy.get('Name')}:{count}" if count else str(policy.get("Name") or "no")


def describe_container(document: Mapping[str, Any], context: Context, env_label: str = "env") -> Dict[str, Any]:
    """Return what must be equal again about one container, from the engine's own document about it."""
    config = document.get("Config") or {}
    host = document.get("HostConfig") or {}
    labels = config.get("Labels") or {}
    env = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    return {
        "image_id": document.get("Image"),
        "image_ref": config.get("Image"),
        "config_hash": labels.get(_COMPOSE + "config-hash"),
        "working_dir": labels.get(_COMPOSE + "project.working_dir"),
        "config_files": labels.get(_COMPOSE + "project.config_files"),
        "mounts": _mounts(document),
        "env_fp": {key: context.fingerprints.of(f"{env_label}#{key}", env[key]) for key in sorted(env)},
        "cap_drop": _list(host.get("CapDrop")),
        "cap_add": _list(host.get("CapAdd")),
        "privileged": bool(host.get("Privileged")),
        "read_only": bool(host.get("ReadonlyRootfs")),
        "user": config.get("User") or "",
        "uid": _uid(document, context),
        "security_opt": _list(host.get("SecurityOpt")),
        "network_mode": host.get("NetworkMode"),
        "networks": _networks(document),
        "ports": _ports(document),
        "memory": host.get("Memory") or 0,
        "pids": host.get("PidsLimit") or 0,
        "restart": _restart(host),
        "healthcheck": _has_healthcheck(config),
        "health": _health(config, context),
        "extras": _extras(host),
        "command": _command(config, context),
        "depends_on": sorted(filter(None, labels.get(_COMPOSE + "depends_on", "").split(","))),
        "stop_timeout": config.get("StopTimeout") or _STOP_TIMEOUT,
        "log": {"driver": (host.get("LogConfig") or {}).get("Type"), **((host.get("LogConfig") or {}).get("Config") or {})},
        "labels": {key: context.redactor.text(str(value)) for key, value in sorted(labels.items()) if not key.startswith(_COMPOSE)},
    }


def observe_container(document: Mapping[str, Any], image: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what a container is doing now. ``health`` is ``none`` where there is no check."""
    state = document.get("State") or {}
    return {
        "id": document.get("Id"),
        "image_id": document.get("Image"),
        "config_hash": ((document.get("Config") or {}).get("Labels") or {}).get(_COMPOSE + "config-hash"),
        "state": state.get("Status"),
        "health": (state.get("Health") or {}).get("Status") or "none",
        "started_at": state.get("StartedAt"),
        "exit_code": state.get("ExitCode"),
        "restarts": document.get("RestartCount", 0),
        "image_revision": (image.get("Labels") or {}).get(_REVISION),
    }


def _service_name(labels: Mapping[str, str]) -> str:
    number = labels.get(_COMPOSE + "container-number", "1")
    service = labels.get(SERVICE_LABEL, "")
    return service if number == "1" else f"{service}#{number}"


def _subnets(network: Mapping[str, Any]) -> str:
    parts = [part.get("Subnet", "") for part in (network.get("IPAM") or {}).get("Config") or []]
    return ",".join(sorted(parts))


def _images(context: Context) -> Dict[str, Dict[str, Any]]:
    return {image["Id"]: image for image in context.engine.images()}


def probe_compose(_name: str, spec: Spec, context: Context) -> Seen:
    """``compose {project, env_label?}``: everything the engine knows about a project, and all images.

    The environment is fingerprinted as settings files are, so that a container's can be compared with the file's.
    """
    project = str(need(spec, "project"))
    env_label = str(spec.get("env_label") or "env")
    invariant: Dict[str, Any] = {}
    observed: Dict[str, Any] = {}
    try:
        images = _images(context)
        for listed in context.engine.project(project):
            labels = listed.get("Labels") or {}
            if labels.get(_COMPOSE + "oneoff", "False") == "True":
                continue
            document = _inspect(listed["Id"], context)
            if document is None:
                continue  # removed in between
            service = _service_name(labels)
            invariant[service] = describe_container(document, context, env_label)
            observed[service] = observe_container(document, images.get(document.get("Image", ""), {}))
        networks = {
            network["Name"]: {
                "driver": network.get("Driver"),
                "internal": bool(network.get("Internal")),
                "subnet": _subnets(network),
            }
            for network in context.engine.networks({PROJECT_LABEL: project})
        }
        volumes = sorted(volume["Name"] for volume in context.engine.volumes({PROJECT_LABEL: project}))
    except EngineError as error:
        raise ProbeError(str(error)) from error
    return Seen(
        {"services": dict(sorted(invariant.items())), "networks": dict(sorted(networks.items())), "volumes": volumes},
        {
            "services": dict(sorted(observed.items())),
            "images": [{"id": image_id, "tags": sorted(image.get("RepoTags") or [])} for image_id, image in sorted(images.items())],
        },
    )


def _inspect(container: str, context: Context) -> Optional[Dict[str, Any]]:
    try:
        return context.engine.inspect(container)
    except EngineError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def probe_container_file(_name: str, spec: Spec, context: Context) -> Seen:
    """``container_file {project, service, path}``: git's name for the content, size and mode of one file inside."""
    try:
        containers = context.engine.project(str(need(spec, "project")), str(need(spec, "service")))
        if not containers:
            return Seen(observed={"exists": False})
        file = context.engine.read_file(containers[0]["Id"], str(need(spec, "path")))
    except EngineError as error:
        if error.status == _NOT_FOUND:
            return Seen(observed={"exists": False})
        raise ProbeError(str(error)) from error
    # SHA-1 because git names blobs by it; nothing is trusted on its strength.
    blob = hashlib.sha1(b"blob %d\0" % len(file.content) + file.content)  # noqa: S324
    return Seen(observed={"exists": True, "sha1_git": blob.hexdigest(), "size": len(file.content), "mode": f"{file.mode:04o}"})
