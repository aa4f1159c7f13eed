"""Stratum as xmrig speaks it: JSON-RPC lines, jobs of RandomX, targets of four bytes.

Pure functions for the messages, and one asyncio server that keeps sessions and hands each login and submit to a `Desk`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_LINE = 16 * 1024
NONCE_AT = 39  # one byte each of major and minor version, five of timestamp, 32 of previous block id
MAX_32 = 0xFFFFFFFF
MAX_64 = 0xFFFFFFFFFFFFFFFF


class Refused(Exception):
    """A request is answered with an error; `close` also ends the session, as pools do when a login fails."""

    def __init__(self, message: str, *, code: int = -1, close: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.close = close


@dataclass(frozen=True)
class Job:
    """One piece of work. `blob` and `seed_hash` are hex, `difficulty` is what a share needs."""

    job_id: str
    blob: str
    difficulty: int
    height: int
    seed_hash: str

    def wire(self) -> dict[str, Any]:
        """Give the job as it travels."""
        return {
            "blob": self.blob,
            "job_id": self.job_id,
            "target": target_of(self.difficulty),
            "algo": "rx/0",
            "height": self.height,
            "seed_hash": self.seed_hash,
        }


def job_from_wire(data: dict[str, Any]) -> Job:
    """Read a job that another server sent; KeyError or ValueError when it is not one."""
    return Job(
        job_id=str(data["job_id"]),
        blob=str(data["blob"]),
        difficulty=difficulty_of(str(data["target"])),
        height=int(data.get("height", 0)),
        seed_hash=str(data["seed_hash"]),
    )


def target_of(difficulty: int) -> str:
    """Give the four little-endian bytes of a difficulty as hex; 200 is `14ae4701`."""
    return max(1, MAX_32 // max(1, difficulty)).to_bytes(4, "little").hex()


def difficulty_of(target: str) -> int:
    """Read a target of four or eight bytes back into a difficulty."""
    raw = int.from_bytes(bytes.fromhex(target), "little")
    limit = MAX_64 if len(target) == 16 else MAX_32
    return max(1, limit // max(1, raw))


def meets_target(result: str, difficulty: int) -> bool:
    """Tell whether a claimed hash is good enough for a share, by xmrig's own arithmetic on its last eight bytes."""
    tail = int.from_bytes(bytes.fromhex(result)[24:32], "little")
    return tail < MAX_64 // (MAX_32 // int.from_bytes(bytes.fromhex(target_of(difficulty)), "little"))


def meets_difficulty(result: str, difficulty: int) -> bool:
    """Tell whether a claimed hash makes a block: monerod compares all 256 bits."""
    return int.from_bytes(bytes.fromhex(result), "little") * difficulty < 1 << 256


def with_nonce(blob: str, nonce: str) -> str:
    """Put a miner's nonce (eight hex digits) into a block template."""
    return blob[: NONCE_AT * 2] + nonce + blob[NONCE_AT * 2 + 8 :]


def is_hex(value: object, size: int) -> bool:
    """Tell whether a value is exactly `size` bytes in lower-case hex."""
    return isinstance(value, str) and len(value) == size * 2 and all(c in "0123456789abcdef" for c in value)


def answer(request_id: object, result: dict[str, Any]) -> bytes:
    """Build the line that answers a request."""
    return _line({"id": request_id, "jsonrpc": "2.0", "error": None, "result": result})


def refusal(request_id: object, error: Refused) -> bytes:
    """Build the line that refuses a request."""
    return _line({"id": request_id, "jsonrpc": "2.0", "error": {"code": error.code, "message": str(error)}})


def pushed(job: Job) -> bytes:
    """Build the line that hands out a new job."""
    return _line({"jsonrpc": "2.0", "method": "job", "params": job.wire()})


def request(request_id: int, method: str, params: dict[str, Any]) -> bytes:
    """Build the line of a request, for the side that plays the miner."""
    return _line({"id": request_id, "jsonrpc": "2.0", "method": method, "params": params})


def parse(line: bytes) -> dict[str, Any]:
    """Read one line; ValueError when it is not a JSON object."""
    data = json.loads(line)
    if not isinstance(data, dict):
        message = "not a JSON object"
        raise ValueError(message)  # noqa: TRY004 - callers treat every malformed line alike
    return data


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


@dataclass(eq=False)
class Session:
    """One miner's connection. `login` is the name it gave itself, `tag` whatever the desk wants to remember."""

    ip: str
    writer: asyncio.StreamWriter
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    login: str = ""
    password: str = ""
    rig_id: str = ""
    agent: str = ""
    logged_in: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    tag: Any = None

    def remember(self, job: Job, keep: int = 8) -> None:
        """Note a job as handed out; only the newest few stay valid."""
        self.jobs[job.job_id] = job
        for old in list(itertools.islice(self.jobs, max(0, len(self.jobs) - keep))):
            del self.jobs[old]
            self.seen = {entry for entry in self.seen if entry[0] != old}

    def push(self, job: Job) -> None:
        """Hand out a new job."""
        self.remember(job)
        if self.logged_in and not self.writer.is_closing():
            self.writer.write(pushed(job))


class Desk(Protocol):
    """What stands behind the server: decides on logins and shares."""

    async def login(self, session: Session) -> Job:
        """Admit a miner and give its first job, or raise Refused."""

    async def submit(self, session: Session, job: Job, nonce: str, result: str) -> None:
        """Take a share that meets its job's target, or raise Refused."""

    async def gone(self, session: Session) -> None:
        """Forget a miner whose connection ended."""


class Server:
    """A stratum server: protocol here, decisions at the desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.sessions: set[Session] = set()

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen; the caller keeps the returned server."""
        return await asyncio.start_server(self._serve, host, port, limit=MAX_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("", 0)
        session = Session(ip=str(peer[0]), writer=writer)
        self.sessions.add(session)
        try:
            while line := await reader.readline():
                if not await self._handle(session, line):
                    break
        except (ConnectionError, ValueError, asyncio.LimitOverrunError):
            pass  # a peer that talks nonsense or vanishes only loses its session
        finally:
            self.sessions.discard(session)
            if session.logged_in:
                await self.desk.gone(session)
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    async def _handle(self, session: Session, line: bytes) -> bool:
        message = parse(line)
        request_id = message.get("id")
        params = message.get("params")
        try:
            result = await self._call(session, str(message.get("method")), params if isinstance(params, dict) else {})
        except Refused as error:
            session.writer.write(refusal(request_id, error))
            await session.writer.drain()
            return not error.close
        session.writer.write(answer(request_id, result))
        await session.writer.drain()
        return True

    async def _call(self, session: Session, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "login":
            session.login = str(params.get("login") or "")
            session.password = str(params.get("pass") or "")
            session.rig_id = str(params.get("rigid") or "")
            session.agent = str(params.get("agent") or "")
            job = await self.desk.login(session)
            session.remember(job)
            session.logged_in = True
            extensions = ["algo", "keepalive"]
            return {"id": session.session_id, "job": job.wire(), "extensions": extensions, "status": "OK"}
        if not session.logged_in or params.get("id") != session.session_id:
            message = "Unauthenticated"
            raise Refused(message, close=True)
        if method == "keepalived":
            return {"status": "KEEPALIVED"}
        if method == "submit":
            return await self._submit(session, params)
        message = "Unknown method"
        raise Refused(message)

    async def _submit(self, session: Session, params: dict[str, Any]) -> dict[str, Any]:
        nonce, result, job_id = params.get("nonce"), params.get("result"), str(params.get("job_id"))
        if not (isinstance(nonce, str) and isinstance(result, str) and is_hex(nonce, 4) and is_hex(result, 32)):
            message = "Malformed share"
            raise Refused(message)
        job = session.jobs.get(job_id)
        if job is None:
            message = "Block expired"
            raise Refused(message)
        if (job_id, nonce) in session.seen:
            message = "Duplicate share"
            raise Refused(message)
        session.seen.add((job_id, nonce))
        if not meets_target(result, job.difficulty):
            message = "Low difficulty share"
            raise Refused(message)
        await self.desk.submit(session, job, nonce, result)
        return {"status": "OK"}
