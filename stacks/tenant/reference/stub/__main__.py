"""`python3 -m stub`: the environment says everything, SIGTERM ends it."""

from __future__ import annotations

import os

from aiohttp import web

from stub.app import Stub, build
from stub.settings import read

if __name__ == "__main__":
    settings = read(os.environ)
    web.run_app(build(Stub(settings)), port=settings.port, access_log=None, print=None)
