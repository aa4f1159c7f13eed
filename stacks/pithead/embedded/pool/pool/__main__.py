"""Start of the pool stand-in: stratum on 3333, its books as JSON on 8081."""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import time
from dataclasses import asdict, dataclass

from common import http, life
from common.stratum import Job, Server, Session

from pool.work import job

FIRST_HEIGHT = 3_000_000


@dataclass
class Books:
    """What a worker has done here. `last_share` in unix seconds."""

    connections: int = 0
    accepted: int = 0
    hashes: int = 0
    last_share: float = 0.0


class Pool:
    """The desk: everybody is welcome, every share that meets its target counts."""

    def __init__(self, difficulty: int) -> None:
        self.difficulty = difficulty
        self.height = FIRST_HEIGHT
        self.books: dict[str, Books] = {}
        self.server = Server(self)

    def work(self, session: Session) -> Job:
        """Make the miner's next job."""
        return job(secrets.token_hex(4), self.height, session.tag, int(time.time()), self.difficulty)

    async def login(self, session: Session) -> Job:
        """Admit a miner."""
        session.tag = secrets.token_bytes(8)
        self.books.setdefault(session.login, Books()).connections += 1
        life.log(f"{session.login} connected from {session.ip}")
        return self.work(session)

    async def submit(self, session: Session, job: Job, nonce: str, result: str) -> None:  # noqa: ARG002 - the desk's interface
        """Count a share; without a chain nobody can check more than its target."""
        books = self.books[session.login]
        books.accepted += 1
        books.hashes += job.difficulty
        books.last_share = time.time()

    async def gone(self, session: Session) -> None:
        """A miner left."""
        self.books[session.login].connections -= 1
        life.log(f"{session.login} disconnected")

    async def next_block(self) -> None:
        """Somebody else found a block: new work for everybody."""
        self.height += 1
        for session in [each for each in self.server.sessions if each.logged_in]:
            session.push(self.work(session))


async def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="pool")
    parser.add_argument("--port", type=int, default=3333)
    parser.add_argument("--http-port", type=int, default=8081)
    parser.add_argument("--difficulty", type=int, default=40)
    parser.add_argument("--block-time", type=float, default=20.0)
    given = parser.parse_args(sys.argv[1:])
    pool = Pool(given.difficulty)

    async def answer(request: http.Request) -> http.Response:
        if request.method not in {"GET", "HEAD"}:
            return http.error(405)
        return http.as_json({"height": pool.height, "workers": {name: asdict(books) for name, books in pool.books.items()}})

    stratum = await pool.server.start("0.0.0.0", given.port)  # noqa: S104 - a pool is there for others
    books = await http.serve(answer, "0.0.0.0", given.http_port)  # noqa: S104 - its books are no secret
    life.log(f"pool stand-in on port {given.port}, difficulty {given.difficulty}")
    async with stratum, books:
        while True:
            await asyncio.sleep(given.block_time * random.uniform(0.7, 1.3))  # noqa: S311 - blocks come at random
            await pool.next_block()


if __name__ == "__main__":
    life.run(main)
