"""One web service: answers every request with the greeting of its configuration."""

from __future__ import annotations

import http.server
import json
import sys
import urllib.request
from pathlib import Path

PORT = 8080
CONFIG = Path(__file__).with_name("config.json")


class Greeter(http.server.BaseHTTPRequestHandler):
    """Answers with a JSON document."""

    def do_GET(self) -> None:
        """Say the greeting."""
        body = json.dumps({"greeting": greeting(CONFIG)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def greeting(config: Path) -> str:
    """Return the greeting of a configuration; KeyError when there is none."""
    return str(json.loads(config.read_text(encoding="utf-8"))["greeting"])


def healthy() -> bool:
    """Ask the service as a visitor does; raises OSError when it does not answer well."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=2) as answer:
        return bool(json.load(answer)["greeting"])


if __name__ == "__main__":
    if sys.argv[1:] == ["healthy"]:
        sys.exit(0 if healthy() else 1)
    http.server.ThreadingHTTPServer(("", PORT), Greeter).serve_forever()
