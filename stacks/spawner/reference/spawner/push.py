"""The push port: as much of HTTP/2 as tells a gRPC server from a port that merely accepts connections.

A client that sends the connection preface is answered with an empty SETTINGS frame (RFC 9113, 3.4 and 6.5), as gRPC servers do.
"""

from __future__ import annotations

import asyncio
import contextlib

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""Length 0, type 4, no flags, stream 0."""
PATIENCE = 10.0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until its end; close it at once when it speaks something else."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            said = await reader.readexactly(len(PREFACE))
        if said == PREFACE:
            writer.write(SETTINGS)
            await writer.drain()
            while await reader.read(65536):
                pass
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def answers(host: str, port: int, patience: float = 1.0) -> bool:
    """Tell whether somebody speaks HTTP/2 at an address."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(PREFACE)
                await writer.drain()
                # Length is the server's choice, type and stream are not.
                return (await reader.readexactly(9))[3:4] == SETTINGS[3:4]
            finally:
                await _close(writer)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
