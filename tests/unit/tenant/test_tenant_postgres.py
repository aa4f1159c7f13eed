"""What a database that is not there is called, whatever its name resolves to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tenant import postgres
from tenant.store import StoreDown
from tenant.urls import Database


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
def test_a_closed_port_is_a_refused_connection_for_a_name_with_several_addresses_too(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_words, **_more: found)
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(postgres.connect(Database("database", port, "u", "p", "x", tls=False)))


def test_a_name_that_nobody_knows_is_another_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_words: Any, **_more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StoreDown):
        asyncio.run(postgres.connect(Database("database", 5432, "u", "p", "x", tls=False)))
