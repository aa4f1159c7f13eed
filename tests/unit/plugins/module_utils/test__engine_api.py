from __future__ import annotations

import struct
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_api import Engine, EngineError, EngineUnreachableError
from ansible_collections.benchkeeper.core.plugins.module_utils._engine_wire import demultiplex, split_reference

from tests.unit.plugins.module_utils import fake_servers

if TYPE_CHECKING:
    from pathlib import Path


def frame(stream: int, text: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(text)) + text


def test_logs_are_put_together() -> None:
    assert demultiplex(frame(1, b"out\n") + frame(2, b"err\n")) == b"out\nerr\n"
    assert demultiplex(b"a terminal has no frames\n") == b"a terminal has no frames\n"
    assert demultiplex(b"") == b""
    assert demultiplex(frame(1, b"cut off")[:10]) == b"cu"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a", ("a", "latest")),
        ("a:1", ("a", "1")),
        ("host:5000/a", ("host:5000/a", "latest")),
        ("host:5000/a:2", ("host:5000/a", "2")),
    ],
)
def test_names_of_images_are_split(name: str, parts: tuple[str, str]) -> None:
    assert split_reference(name) == parts


def test_questions_and_answers(tmp_path: Path) -> None:
    engine = fake_servers.FakeEngine(
        {
            "GET /containers/json": [{"Id": "1"}],
            "GET /containers/1/json": {"Id": "1", "State": {}},
            "GET /volumes": {"Volumes": None},
            "POST /containers/1/stop": None,
            "POST /images/sha256:ab/tag": None,
            "DELETE /networks/n": (403, "has active endpoints"),
            "GET /containers/1/logs": frame(1, b"hello\xff\n"),
        }
    )
    with engine.on(tmp_path) as socket:
        client = Engine(socket)
        assert client.project("p", "s") == [{"Id": "1"}]
        assert client.inspect("1")["Id"] == "1"
        assert client.volumes() == []
        client.stop("1", grace=3)
        client.tag("sha256:ab", "keep:run-1")
        assert client.logs("1") == "hello\ufffd\n"
        with pytest.raises(EngineError, match="403: has active endpoints") as refused:
            client.remove_network("n")
        assert refused.value.status == 403
        with pytest.raises(EngineError, match="404"):
            client.inspect("../../etc")
    assert '"com.docker.compose.project=p"' in engine.calls[0]
    assert "all=1" in engine.calls[0]
    assert engine.calls[3].endswith("stop?t=3")
    assert engine.calls[4].endswith("tag?repo=keep&tag=run-1")


def test_no_engine_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachableError, match="No such file"):
        Engine(str(tmp_path / "none")).version()


def test_files_are_read_through_links(tmp_path: Path) -> None:
    key = "GET /containers/1/archive"
    engine = fake_servers.FakeEngine({key: fake_servers.archive("x", b"content")})
    stats = [fake_servers.stat_header(mode=1 << 27, linkTarget="../real"), fake_servers.stat_header(mode=0o640, size=7)]
    with engine.on(tmp_path) as socket:

        class Headers(dict[str, list[tuple[str, str]]]):
            def get(self, _key: str, _default: Any = None) -> Any:
                return stats.pop(0)

        engine.headers = Headers()
        file = Engine(socket).read_file("1", "/a/b/link")
    assert (file.content, file.mode, file.uid) == (b"content", 0o640, 7)
    assert engine.calls[1].endswith("path=/a/real")


@pytest.mark.parametrize(
    ("stat", "raw", "status"),
    [
        ({"mode": 1 << 31}, b"", 415),
        ({"mode": 0, "size": 9_000_000}, b"", 413),
        ({"mode": 0}, fake_servers.archive("d", b"", tarfile.DIRTYPE), 415),
        ({"mode": 0}, b"garbage" * 200, 415),
        ({"mode": 1 << 27, "linkTarget": "/self"}, b"", 508),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, stat: dict[str, Any], raw: bytes, status: int) -> None:
    key = "GET /containers/1/archive"
    engine = fake_servers.FakeEngine({key: raw}, headers={key: fake_servers.stat_header(**stat)})
    with engine.on(tmp_path) as socket, pytest.raises(EngineError) as refused:
        Engine(socket).read_file("1", "/x")
    assert refused.value.status == status


def test_events_end_with_the_stream(tmp_path: Path) -> None:
    engine = fake_servers.FakeEngine(events=[[{"Action": "start"}, {"Action": "die"}]])
    with engine.on(tmp_path) as socket:
        assert [event["Action"] for event in Engine(socket).events({"type": ["container"]})] == ["start", "die"]


class SilentEngine(fake_servers.FakeEngine):
    """Takes requests and says nothing."""

    def answer(self, handler: Any, _body: bytes) -> fake_servers.Reply:
        handler.connection.recv(1)  # until the client gives up
        return 200, [], b""


def test_an_engine_that_says_nothing_is_unreachable(tmp_path: Path) -> None:
    with SilentEngine().on(tmp_path) as socket:
        client = Engine(socket, timeout=0.2)
        for ask in (client.version, client.events):
            with pytest.raises(EngineUnreachableError, match="timed out"):
                ask()


class QuietEngine(fake_servers.FakeEngine):
    """Starts a stream of events in which nothing ever happens."""

    def answer(self, handler: Any, _body: bytes) -> fake_servers.Reply:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.wfile.flush()
        handler.connection.recv(1)
        return 200, [], b""


def test_a_quiet_stream_can_be_closed_from_another_thread(tmp_path: Path) -> None:
    with QuietEngine().on(tmp_path) as socket:
        stream = Engine(socket).events()
        threading.Timer(0.2, stream.close).start()
        assert list(stream) == []
