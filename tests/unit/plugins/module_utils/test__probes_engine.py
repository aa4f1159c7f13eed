from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible_collections.benchkeeper.core.plugins.module_utils._snapshot import take

from tests.unit.plugins.module_utils import fake_servers

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = {
    "com.docker.compose.project": "p",
    "com.docker.compose.service": "tor",
    "com.docker.compose.container-number": "1",
    "com.docker.compose.oneoff": "False",
    "com.docker.compose.config-hash": "hash1",
    "com.docker.compose.project.working_dir": "/srv/p",
    "com.docker.compose.project.config_files": "/srv/p/docker-compose.yml",
}


def container(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Id": "c1",
        "Image": "sha256:i1",
        "RestartCount": 2,
        "State": {
            "Status": "running",
            "Running": True,
            "Pid": 4711,
            "ExitCode": 0,
            "StartedAt": "t",
            "Health": {"Status": "healthy"},
        },
        "Config": {
            "Image": "p-tor:dev",
            "User": "100",
            "Env": ["TOKEN=tok123456", "EMPTY=", "EQ=a=b"],
            "Labels": {**COMPOSE, "mine": "yes"},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3_000_000_000, "Retries": 3},
            "Entrypoint": ["tini", "--"],
            "Cmd": ["tor", "--token", "tok123456"],
        },
        "HostConfig": {
            "CapDrop": ["ALL"],
            "CapAdd": ["SETUID", "CHOWN"],
            "ReadonlyRootfs": True,
            "SecurityOpt": ["no-new-privileges:true"],
            "NetworkMode": "p_net",
            "Memory": 268435456,
            "PidsLimit": None,
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            "PortBindings": {"3333/tcp": [{"HostIp": "", "HostPort": "3333"}]},
            "Tmpfs": {"/tmp": "mode=0700"},
            "IpcMode": "private",
            "MaskedPaths": ["/proc/kcore"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        },
        "Mounts": [
            {"Type": "volume", "Name": "v", "Source": "/var/lib/docker/volumes/v/_data", "Destination": "/z", "RW": True},
            {"Type": "bind", "Source": "/srv/p/torrc", "Destination": "/etc/torrc", "RW": False},
        ],
        "NetworkSettings": {
            "Ports": {"3333/tcp": [{"HostIp": "0.0.0.0", "HostPort": "3333"}], "9050/tcp": None},  # noqa: S104
            "Networks": {"p_net": {"IPAddress": "172.30.0.25", "IPAMConfig": {"IPv4Address": "172.30.0.25"}}},
        },
    }
    return {**document, **changes}


def engine(document: dict[str, Any]) -> fake_servers.FakeEngine:
    other = {**COMPOSE, "com.docker.compose.service": "x"}
    revision = {"org.opencontainers.image.revision": "abc"}
    subnet = {"Config": [{"Subnet": "172.30.0.0/24"}]}
    return fake_servers.FakeEngine(
        {
            "GET /containers/json": [{"Id": "c1", "Labels": COMPOSE}, {"Id": "gone", "Labels": other}],
            "GET /containers/c1/json": document,
            "GET /images/json": [
                {"Id": "sha256:i1", "RepoTags": ["p-tor:dev"], "Labels": revision},
                {"Id": "sha256:i2", "RepoTags": None},
            ],
            "GET /networks": [{"Name": "p_net", "Driver": "bridge", "Internal": False, "IPAM": subnet}],
            "GET /volumes": {"Volumes": [{"Name": "v"}]},
        }
    )


def look(tmp_path: Path, document: dict[str, Any]) -> dict[str, Any]:
    (tmp_path / "proc/4711").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/4711/status").write_text("Name:\ttor\nUid:\t100\t100\t100\t100\n", "utf-8")
    env = tmp_path / ".env"
    env.write_text("TOKEN=tok123456\n", "utf-8")
    with engine(document).on(tmp_path) as socket:
        return take(
            {"stack": {"kind": "compose", "project": "p"}, "env": {"kind": "dotenv", "path": str(env)}},
            {"run_id": "r", "host": "h", "engine_socket": socket, "root": str(tmp_path)},
        )


def test_what_runs_is_told_and_not_what_was_asked_for(tmp_path: Path) -> None:
    document = look(tmp_path, container())
    tor = document["invariant"]["stack"]["services"]["tor"]
    assert {key: tor[key] for key in ("image_id", "image_ref", "config_hash", "working_dir")} == {
        "image_id": "sha256:i1",
        "image_ref": "p-tor:dev",
        "config_hash": "hash1",
        "working_dir": "/srv/p",
    }
    assert (tor["user"], tor["uid"], tor["cap_add"], tor["cap_drop"]) == ("100", 100, ["CHOWN", "SETUID"], ["ALL"])
    assert (tor["read_only"], tor["privileged"], tor["healthcheck"], tor["restart"]) == (True, False, True, "unless-stopped")
    assert tor["ports"] == [{"host_ip": "0.0.0.0", "host_port": 3333, "port": 3333, "proto": "tcp"}]  # noqa: S104
    assert tor["networks"] == {"p_net": "172.30.0.25"}
    assert tor["labels"] == {"mine": "yes"}
    assert tor["mounts"] == [
        {"type": "bind", "source": "/srv/p/torrc", "target": "/etc/torrc", "rw": False},
        {"type": "tmpfs", "source": "", "target": "/tmp", "rw": True, "options": "mode=0700"},
        {"type": "volume", "name": "v", "target": "/z", "rw": True},
    ]
    assert document["invariant"]["stack"]["networks"]["p_net"]["subnet"] == "172.30.0.0/24"
    assert document["invariant"]["stack"]["volumes"] == ["v"]
    seen = document["observed"]["stack"]["services"]["tor"]
    assert (seen["state"], seen["health"], seen["restarts"], seen["image_revision"]) == ("running", "healthy", 2, "abc")
    assert document["observed"]["stack"]["images"][1] == {"id": "sha256:i2", "tags": []}


def test_how_a_service_is_started_asked_and_logged_is_told(tmp_path: Path) -> None:
    tor = look(tmp_path, container())["invariant"]["stack"]["services"]["tor"]
    assert tor["health"] == {
        "test": ["CMD", "true"],
        "retries": 3,
        "interval": 3.0,
        "timeout": 0.0,
        "start_period": 0.0,
        "start_interval": 0.0,
    }
    assert tor["command"].startswith("tini -- tor --token ")
    assert "tok123456" not in tor["command"]
    assert (tor["extras"], tor["stop_timeout"], tor["depends_on"]) == ([], 10, [])
    assert tor["log"] == {"driver": "json-file", "max-size": "10m"}


def test_whatever_opens_a_container_is_named(tmp_path: Path) -> None:
    opened = container()
    opened["HostConfig"] = {
        **opened["HostConfig"],
        **dict.fromkeys(["PidMode", "IpcMode", "UTSMode", "UsernsMode"], "host"),
        "MaskedPaths": [],
        "Devices": [{"PathOnHost": "/dev/mem"}],
        "DeviceRequests": [{"Driver": ""}],
        "Sysctls": {"net.core.somaxconn": "1"},
        "GroupAdd": ["0"],
        "ExtraHosts": ["x:host-gateway"],
        "Dns": ["192.0.2.1"],
        "OomKillDisable": True,
    }
    opened["Config"] = {**opened["Config"], "StopTimeout": 60}
    opened["Config"]["Labels"] = {**opened["Config"]["Labels"], "com.docker.compose.depends_on": "b:x:true,a:y:false"}
    tor = look(tmp_path, opened)["invariant"]["stack"]["services"]["tor"]
    assert tor["extras"] == [
        *("device=/dev/mem", "device_request=any", "dns=192.0.2.1", "group=0", "host=x:host-gateway", "ipc=host"),
        *("oom_kill=off", "pid=host", "sysctl=net.core.somaxconn=1", "unmasked=/proc", "userns=host", "uts=host"),
    ]
    assert (tor["stop_timeout"], tor["depends_on"]) == (60, ["a:y:false", "b:x:true"])


def test_a_containers_environment_can_be_compared_with_the_file(tmp_path: Path) -> None:
    document = look(tmp_path, container())
    inside = document["invariant"]["stack"]["services"]["tor"]["env_fp"]
    assert sorted(inside) == ["EMPTY", "EQ", "TOKEN"]
    assert inside["TOKEN"] == document["invariant"]["env"]["keys"]["TOKEN"]
    assert "tok123456" not in json.dumps(document)


def test_a_container_that_does_not_run_has_no_user_and_no_health(tmp_path: Path) -> None:
    stopped = container(State={"Status": "exited", "Running": False, "Pid": 0, "ExitCode": 7})
    stopped["Config"] = {**stopped["Config"], "Healthcheck": {"Test": ["NONE"]}}
    document = look(tmp_path, stopped)
    tor = document["invariant"]["stack"]["services"]["tor"]
    assert (tor["uid"], tor["healthcheck"]) == (None, False)
    assert tor["ports"][0]["host_ip"] == "0.0.0.0"  # noqa: S104
    assert document["observed"]["stack"]["services"]["tor"]["exit_code"] == 7
    assert document["observed"]["stack"]["services"]["tor"]["health"] == "none"


def test_no_engine_is_an_error_and_no_empty_stack(tmp_path: Path) -> None:
    document = take({"stack": {"kind": "compose", "project": "p"}}, {"engine_socket": str(tmp_path / "none")})
    assert "stack" not in document["invariant"]
    assert document["errors"]["stack"].startswith("engine: ")


def test_a_file_in_a_container_is_named_as_git_does(tmp_path: Path) -> None:
    fake = engine(container())
    key = "GET /containers/c1/archive"
    fake.table[key], fake.headers[key] = fake_servers.archive("x", b"hello\n"), fake_servers.stat_header(mode=0o640, size=6)
    spec = {"kind": "container_file", "project": "p", "service": "tor"}
    with fake.on(tmp_path) as socket:
        document = take({"f": {**spec, "path": "/x"}}, {"engine_socket": socket})
        assert document["observed"]["f"] == {
            "exists": True,
            "sha1_git": "ce013625030ba8dba906f756967f9e9ca394464a",
            "size": 6,
            "mode": "0640",
        }
        fake.table[key] = (404, "Could not find the file")
        assert take({"f": {**spec, "path": "/y"}}, {"engine_socket": socket})["observed"]["f"] == {"exists": False}
        fake.table["GET /containers/json"] = []
        assert take({"f": {**spec, "path": "/x"}}, {"engine_socket": socket})["observed"]["f"] == {"exists": False}
