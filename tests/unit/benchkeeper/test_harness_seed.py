"""The seed against tenants of a few lines: made once, read back, and whatever is odd ends it."""

from __future__ import annotations

import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from benchkeeper.harness import seed
from benchkeeper.harness.place import Place, TenantPlace

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tenants:
    """Workspaces by Host name, and what is wrong with them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"alpha": [], "beta": []}
        self.odd = ""
        self.made = 0
        self.url = ""

    def create(self, host: str, wanted: dict[str, Any]) -> tuple[int, Any]:
        self.made += 1
        if self.odd == "refuses":
            return 422, {"error": "MISSING_BYOK_CREDENTIAL"}
        row = {"id": f"{host}-{self.made}", **wanted, "tier": wanted["tier"] or 3}
        if self.odd == "forgets":
            row["parent_id"] = None
        self.rows[host].append(row)
        return 201, {"id": "" if self.odd == "no id" else row["id"]}

    def answer(self, method: str, host: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/workspaces":
            return (200, self.rows[host]) if method == "GET" else self.create(host, body)
        found = [row for row in self.rows[host] if row["id"] == path.rpartition("/")[2]]
        return (200, found[0]) if found else (404, {"error": "workspace not found"})


@pytest.fixture
def tenants() -> Iterator[Tenants]:
    those = Tenants()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            host = self.headers["Host"].partition(".")[0]
            allowed = self.headers["Authorization"] == f"Bearer token-{host}" and self.headers["X-Molecule-Org-Id"] == f"org-{host}"
            status, body = those.answer(self.command, host, self.path, json.loads(raw or b"null")) if allowed else (404, None)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        those.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield those
        server.shutdown()


def place(url: str) -> Place:
    both = tuple(TenantPlace(name, f"{name}.localhost", f"org-{name}", url, f"token-{name}") for name in ("alpha", "beta"))
    nobody_may = TenantPlace("closed", "closed.localhost", "org-closed", url, "")
    return Place("r1", "builtin", "b1", url, url, "", "", both, closed=(nobody_may,))


def test_each_tenant_gets_a_workspace_and_one_below_it_once(tenants: Tenants) -> None:
    first = seed.seed(place(tenants.url))
    rows = {name: [(row["name"], row["tier"], row.get("parent_id")) for row in found] for name, found in tenants.rows.items()}
    assert rows["alpha"] == [("alpha-parent", 3, None), ("alpha-child", 1, first["alpha"].parent_id)]
    assert rows["beta"] == [("beta-parent", 3, None), ("beta-child", 1, first["beta"].parent_id)]
    assert seed.seed(place(tenants.url)) == first
    assert tenants.made == 4


@pytest.mark.parametrize(
    ("odd", "said"),
    [("refuses", "422.*MISSING_BYOK_CREDENTIAL"), ("forgets", "alpha-child: parent_id is None"), ("no id", "made without an id")],
)
def test_what_is_odd_ends_it(tenants: Tenants, odd: str, said: str) -> None:
    tenants.odd = odd
    with pytest.raises(seed.SeedError, match=said):
        seed.seed(place(tenants.url))


def test_no_answer_ends_it() -> None:
    with pytest.raises(seed.SeedError, match="no answer"):
        seed.seed(place("http://127.0.0.1:9"))
