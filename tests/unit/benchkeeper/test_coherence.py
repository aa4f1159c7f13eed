"""`./bench coherence`: what is coherent is green, each planted drift is red for its reason, bad input is neither."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from benchkeeper import cli, coherence, coherence_command, env_code, env_compose, env_settings, environment, located
from benchkeeper.errors import UsageError
from benchkeeper.located import BrokenFileError
from benchkeeper.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DRIFTS, BAD_INPUT = (yaml.safe_load((HERE / "planted" / f"{name}.yml").read_text("utf-8")) for name in ("drifts", "bad_input"))
COMPLETE = sorted(path.parent.name for path in (ROOT / "stacks").glob("*/environment.yml") if (path.parent / "reference").is_dir())


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks" / "shop"
    shutil.copytree(HERE / "planted" / "shop", folder)
    return folder


def report(folder: Path, named: str | None = None) -> coherence.Report:
    return coherence_command.examine(Paths(folder.parents[1]), folder.name, named)


def broken(folder: Path, named: str | None = None) -> list[tuple[str, int, str]]:
    with pytest.raises(BrokenFileError) as refused:
        report(folder, named)
    return [(one.file.removeprefix(f"stacks/{folder.name}/"), one.line, one.text) for one in refused.value.mistakes]


def replace(folder: Path, file: str, old: str, new: str) -> int:
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, "the place of a planted drift is unambiguous"
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", COMPLETE)
def test_the_stacks_that_are_there_are_coherent(name: str) -> None:
    found = report(ROOT / "stacks" / name)
    assert found.findings == ()
    assert found.compared["files_of_code"] > 10


def test_the_first_stack_is_compared_with_what_it_really_has() -> None:
    compared = report(ROOT / "stacks" / "pithead").compared
    assert compared["services"] == 9
    assert compared["filled_in"] > 100
    assert compared["given"] > 200


def test_a_coherent_stack_has_no_finding(shop: Path) -> None:
    found = report(shop)
    assert [str(one) for one in found.findings] == []
    assert found.compared == {"names": 11, "services": 4, "given": 14, "filled_in": 3, "files_of_code": 2, "production": 5}
    assert found.not_judged == {"vendor": 2}


@pytest.mark.parametrize("row", DRIFTS, ids=lambda row: f"{row['kind']} {row['name']} {row['file']}")
def test_a_planted_drift_is_red_for_its_reason_and_nothing_else_is(shop: Path, row: dict[str, Any]) -> None:
    place = replace(shop, row["file"], row["old"], row["new"])
    line = row.get("line", place + row.get("at", 0))
    found = report(shop).findings
    file = f"stacks/shop/{row.get('in', row['file'])}"
    wanted = [
        one
        for one in found
        if (one.kind, one.name, one.file, one.line) == (row["kind"], row["name"], file, line) and row.get("says", "") in one.text
    ]
    assert len(wanted) == 1, [str(one) for one in found]
    assert len(found) == 1 + row.get("more", 0), [str(one) for one in found]
    assert coherence_command.run(Paths(shop.parents[1]), ["shop"], None, as_json=False) == 1


def test_every_kind_of_drift_is_planted() -> None:
    assert {row["kind"] for row in DRIFTS} == set(coherence.KINDS)


def test_no_finding_tells_a_secret(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(shop, "compose.yml", "${SHOP_TOKEN:?}", "correct-horse")
    replace(shop, "store.env", '"$SHOP_TOKEN"', "correct-horse")
    replace(shop, "code/app.py", 'os.environ["SHOP_TOKEN"]', 'os.environ.get("SHOP_TOKEN", "correct-horse")')
    replace(shop, "production.txt", "SHOP_TOKEN", "SHOP_TOKEN=correct-horse")
    for as_json in (False, True):
        assert coherence_command.run(Paths(shop.parents[1]), ["shop"], None, as_json=as_json) == 1
    assert "correct-horse" not in capsys.readouterr().out


# The tenant: the list that is there, against compose files of the product as the contract tells them.


@pytest.fixture
def tenant(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks" / "tenant"
    folder.mkdir(parents=True)
    listed = yaml.safe_load((ROOT / "stacks" / "tenant" / "environment.yml").read_text(encoding="utf-8"))
    listed["sources"] = {"compose": ["compose.yml"]}
    # The code of the builtin parts is compared where it is; here it is somebody else's.
    listed["readers"] = {name: reader if "compose" in reader else {"elsewhere": "x"} for name, reader in listed["readers"].items()}
    # What compose files of the product fill in under names of their own, and how they call the stub; their edge is given nothing.
    names = listed["components"]["harness"]["names"]
    names["HARNESS_BIND_ADDR"] = {"purpose": "where the edge is published", "default": "127.0.0.1"}
    names["GIT_SHA"] = {"purpose": "the build id that goes into the image", "default": "harness"}
    names["MOLECULE_TEMPLATE_REPO_TOKEN"] = {"purpose": "reads private workspace templates", "secret": True}
    listed["components"]["stub"]["services"] = ["cp-stub"]
    del listed["components"]["edge"]
    for name in ("LLM_USAGE_TOKEN", "POSTGRES_PASSWORD", "ADMIN_TOKEN_ALPHA", "ADMIN_TOKEN_BETA"):
        names[name] = {"purpose": "made for each run", "secret": True}
    (folder / "environment.yml").write_text(yaml.safe_dump(listed), encoding="utf-8")
    return folder


def test_the_tenant_harness_of_today_is_coherent(tenant: Path) -> None:
    shutil.copy(HERE / "planted" / "tenant-current.yml", tenant / "compose.yml")
    assert [str(one) for one in report(tenant).findings] == []


def test_the_first_published_harness_would_have_been_red_for_what_was_wrong_with_it(tenant: Path) -> None:
    """It could not start, asked the vendor's production with its admin token, and had a variable that nobody reads."""
    shutil.copy(HERE / "planted" / "tenant-seed.yml", tenant / "compose.yml")
    found = {(one.kind, one.name) for one in report(tenant).findings}
    assert found == {
        ("missing", "SECRETS_ENCRYPTION_KEY"),
        ("missing", "CP_PROVISION_URL"),
        ("missing", "MOLECULE_CP_URL"),
        ("missing", "MEMORY_PLUGIN_DISABLE"),
        ("missing", "MOLECULE_LLM_USAGE_TOKEN"),
        ("missing", "MOLECULE_LLM_USAGE_URL"),
        ("missing", "MOLECULE_LLM_BASE_URL"),
        ("missing", "MOLECULE_LLM_ANTHROPIC_BASE_URL"),
        ("dead", "CP_STUB_PEERS_MODE"),
        ("unknown", "CP_STUB_PEERS_MODE"),
        ("exposed", "ADMIN_TOKEN"),
        ("exposed", "DATABASE_URL"),
        ("exposed", "POSTGRES_PASSWORD"),
    }


# Production lists.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "PORT=8080\nexport MODE=live\n\n# x\nRATE  \nSHOP_TOKEN # a secret\n"),
        ("list.yml", "[PORT=8080, MODE=live, RATE, SHOP_TOKEN]\n"),
        ("list.yml", "PORT: 8080\nMODE: live\nRATE:\nSHOP_TOKEN:\n"),
        ("list.json", '{"PORT": 8080, "MODE": "live", "RATE": null, "SHOP_TOKEN": null}'),
        ("list", '["PORT=8080", "MODE=live", "RATE", "SHOP_TOKEN"]'),
    ],
)
def test_a_production_list_may_be_written_in_several_ways(shop: Path, name: str, text: str) -> None:
    (shop / name).write_text(text, encoding="utf-8")
    found = env_settings.production(text, name)
    assert sorted((one.name, one.value) for one in found) == [
        ("MODE", "live"),
        ("PORT", "8080"),
        ("RATE", None),
        ("SHOP_TOKEN", None),
    ]
    assert report(shop, str(shop / name)).findings == ()


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = {
                "/list": (200, b"PORT=8080\nSHOP_TOKEN\nMODE=live\nREGION=eu\n"),
                "/bytes": (200, b"\xff"),
                "/away": (302, b""),
            }.get(self.path.partition("?")[0], (404, b""))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/list")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_production_list_may_come_from_an_address_that_the_user_names(shop: Path, server: str) -> None:
    (found,) = report(shop, f"{server}/list?token=correct-horse").findings
    assert (found.kind, found.name, found.file, found.line) == ("missing", "REGION", f"{server}/list", 4)


@pytest.mark.parametrize(("path", "says"), [("/nope", "answers 404"), ("/away", "answers 302"), ("/bytes", "is not UTF-8")])
def test_an_address_that_gives_no_list_is_bad_input(shop: Path, server: str, path: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        report(shop, f"{server}{path}?token=correct-horse")
    assert "correct-horse" not in str(refused.value)


def test_an_address_that_nobody_answers_is_bad_input(shop: Path) -> None:
    with pytest.raises(UsageError, match="cannot be had"):
        report(shop, "http://127.0.0.1:1/list")


def test_nothing_is_asked_that_the_user_did_not_name(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(shop, "environment.yml", "file: production.txt", "file: https://production.example/list")
    monkeypatch.setattr(coherence_command, "fetch", lambda url: pytest.fail(f"asked {url}"))
    assert broken(shop)[0][1:] == (1, "cannot be read: No such file or directory")


# Bad input.


@pytest.mark.parametrize("row", BAD_INPUT, ids=lambda row: f"{row['file']}: {row['says']}"[:70])
def test_bad_input_is_named_with_its_line(shop: Path, row: dict[str, Any]) -> None:
    replace(shop, row["file"], row["old"], row["new"])
    found = broken(shop)
    assert [one for one in found if one[1] == row["line"] and row["says"] in one[2]], found
    assert coherence_command.run(Paths(shop.parents[1]), ["shop"], None, as_json=False) == 2


def test_all_bad_input_is_told_at_once(shop: Path) -> None:
    replace(shop, "compose.yml", "services:", "service:")
    replace(shop, "app.env", "IMAGE_TAG=dev", "IMAGE_TAG dev")
    replace(shop, "environment.yml", "code/*.sh", "code/*.bash")
    assert [file for file, _line, _text in broken(shop)] == ["compose.yml", "app.env", "environment.yml"]


def test_a_list_without_anything_to_compare_is_an_error(shop: Path) -> None:
    text = "readers: { v: { elsewhere: x } }\ncomponents: { a: { purpose: x, readers: [v], names: { A: { purpose: x } } } }\n"
    (shop / "environment.yml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="names nothing to compare with"):
        report(shop)


def test_drift_of_one_stack_does_not_hide_bad_input_of_another(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shop.parent / "other"
    shutil.copytree(shop, other)
    replace(shop, "compose.yml", "      RATE: 1000", "      RATES: 1000")
    replace(other, "compose.yml", "services:", "service:")
    assert coherence_command.run(Paths(shop.parents[1]), ["other", "shop"], None, as_json=True) == 2
    told = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in told["mistakes"]] == ["stacks/other/compose.yml"]
    assert [one["name"] for one in told["stacks"][0]["findings"]] == ["RATES"]


@pytest.mark.parametrize(
    "words",
    [
        ["coherence", "nope"],
        ["coherence", "../pithead"],
        ["coherence", "pithead", "--production", ""],
        ["coherence", "pithead", "--production", "/does/not/exist"],
        ["coherence", "pithead", "--production", "a\nb"],
    ],
)
def test_what_cannot_be_meant_ends_with_2(words: list[str]) -> None:
    assert cli.main(words) == 2


def test_the_output_for_scripts_is_stable(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = replace(shop, "compose.yml", "      RATE: 1000", "      RATES: 1000")
    assert coherence_command.run(Paths(shop.parents[1]), ["shop"], None, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["mistakes"]) == (1, [])
    (one,) = told["stacks"]
    assert set(one) == {"stack", "coherent", "findings", "compared", "not_judged"}
    text = "RATES is not a name of shop of stacks/shop/environment.yml; is it RATE?"
    row = {"file": "stacks/shop/compose.yml", "line": line, "name": "RATES", "kind": "unknown", "component": "shop", "text": text}
    assert one["findings"] == [row]


# The parts.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain", []),
        ("$$A ${$", []),
        ("$A-${B}", [("A", None), ("B", None)]),
        ("${A:-x}${B-y}", [("A", "x"), ("B", "y")]),
        ("${A:?no ${B}}", [("A", None), ("B", None)]),
        ("${A:-${B:-x}}", [("A", "${B:-x}"), ("B", "x")]),
        ("${A:+${B}}c", [("A", None), ("B", None)]),
        ("${A:-", [("A", "")]),
    ],
)
def test_places_are_those_that_compose_fills_in(text: str, found: list[tuple[str, str | None]]) -> None:
    assert list(env_compose.places(text)) == found


@pytest.mark.parametrize(
    ("text", "known"), [("a$$b", ("a$b",)), ("${A:-x}", ("x",)), ("${A}", ()), ("x${A:-y}", ()), ("${A:-${B}}", ()), ("", ("",))]
)
def test_a_value_is_known_when_nothing_else_can_be_filled_in(text: str, known: tuple[str, ...]) -> None:
    assert env_compose.literal(text) == known


@pytest.mark.parametrize(
    ("one", "other", "equal"), [("30", "30.0", True), ("True", "true", True), ("a", "b", False), ("1", "true", False)]
)
def test_spellings_of_one_value(one: str, other: str, equal: bool) -> None:
    assert coherence.same(one, other) is equal


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('os.environ.get("A", "x")', [("A", "x")]),
        ("env.get('A', 30)", [("A", "30")]),
        ('environ["A"]', [("A", None)]),
        ('env["A"] = 1', []),
        ('if env["A"] == 1', [("A", None)]),
        ('os.Getenv("A")', [("A", None)]),
        ('os.LookupEnv("A")', [("A", None)]),
        ("process.env.A_B", [("A_B", None)]),
        ('os.getenv("A", other)', [("A", None)]),
        ('env.get("lower")', []),
    ],
)
def test_code_asks_for_names_in_many_languages(tmp_path: Path, text: str, asked: list[tuple[str, str | None]]) -> None:
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    reader = environment.Reader(code=["x.txt"])
    assert [(one.name, one.default) for one in env_code.read([(tmp_path / "x.txt", "x.txt")], reader).asked] == asked


def test_the_line_of_what_came_by_an_anchor_is_where_it_is_written() -> None:
    document = located.parse("a: &a\n  x: 1\nb:\n  <<: *a\n  y: [1,\n    2]\n", "t.yml")
    assert [document.line(place) for place in (("b", "x"), ("b", "y", 1), ("b", "z"), ("c",))] == [2, 6, 3, 1]
