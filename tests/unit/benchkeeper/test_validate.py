from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchkeeper import validate
from benchkeeper.errors import UsageError

GOOD_BRANCHES = ["main", "feature/x", "v1.2.3", "a-b_c.d/e", "7", "x" * 200]
BAD_BRANCHES = [
    "",
    "x; rm -rf /",
    "--upload-pack=touch /tmp/p",
    "-x",
    "x';touch${IFS}/tmp/p;'",
    "$(id)",
    "`id`",
    "{{lookup('pipe','id')}}",
    "{%if%}",
    "a{#b",
    "a\nb",
    "a\x00b",
    "a\x1b[31mb",
    "main\u202e",
    "\u2066main",
    "m\u00e4in",
    "a b",
    "a..b",
    "a//b",
    "/a",
    "a/",
    "a.",
    "a.lock",
    "a.lock/b",
    "a/.b",
    "a/-b",
    "a@{1}",
    "@",
    "HEAD",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[b",
    "a\\b",
    "x" * 201,
    "x" * 4096,
    "\udcff",
]


@pytest.mark.parametrize("name", GOOD_BRANCHES)
def test_a_good_branch_name_is_returned_as_it_is(name: str) -> None:
    assert validate.branch_name(name) == name


@pytest.mark.parametrize("name", BAD_BRANCHES)
def test_a_bad_branch_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        validate.branch_name(name)


@pytest.mark.parametrize("name", BAD_BRANCHES)
def test_a_refusal_can_be_printed(name: str) -> None:
    with pytest.raises(UsageError) as refusal:
        validate.branch_name(name)
    text = str(refusal.value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="aZ09._/-@{}~^: ", min_size=1, max_size=12))
def test_what_is_allowed_git_allows(name: str) -> None:
    try:
        validate.branch_name(name)
    except UsageError:
        return
    assert subprocess.run(["git", "check-ref-format", "--branch", name], check=False, capture_output=True).returncode == 0


def test_miners() -> None:
    known = ("miner-0", "miner-1")
    assert validate.miners("none", known) == ()
    assert validate.miners("none", known, lends=False) == ()
    for asked in ("miner-0", "nope", ""):
        with pytest.raises(UsageError, match="borrows no miners"):
            validate.miners(asked, known, lends=False)
    assert validate.miners("miner-1,miner-0", known) == ("miner-1", "miner-0")
    for bad in ("", "miner-0,", "miner-0,miner-0", "miner-2", "-oProxyCommand=x", "none,miner-0", "miner-0 ", "{{x}}"):
        with pytest.raises(UsageError):
            validate.miners(bad, known)


def test_hosts() -> None:
    assert validate.host_name("rig-1.example.net") == "rig-1.example.net"
    assert validate.host_name("miner-0", ["miner-0"]) == "miner-0"
    for bad in ("", "-oProxyCommand=touch x", "a b", "a/b", "a..b", "user@host", "{{x}}", "a\n", "x" * 254, "a,b"):
        with pytest.raises(UsageError):
            validate.host_name(bad)
    with pytest.raises(UsageError, match="known: miner-0"):
        validate.host_name("miner-9", ["miner-0"])


@pytest.mark.parametrize("bad", ["", "-1", "1.5", "1e3", "+1", " 1", "0x10", "65", "99999999999999999999", "\u0663", "one"])
def test_a_number_is_plain_digits_in_range(bad: str) -> None:
    with pytest.raises(UsageError):
        validate.workers(bad)


def test_ranges_include_their_ends() -> None:
    assert validate.workers("0") == 0
    assert validate.workers("64") == 64
    assert validate.ttl("10") == 10
    assert validate.wait("86400") == 86400
    for bad in ("9", "86401"):
        with pytest.raises(UsageError):
            validate.ttl(bad)


def test_extra_variables() -> None:
    given = ["bench_pool_host=192.0.2.1", "bench_origin=https://x/?a=b"]
    assert validate.extra_vars(given) == {"bench_pool_host": "192.0.2.1", "bench_origin": "https://x/?a=b"}
    for bad in (
        ["a"],
        ["=1"],
        ["A=1"],
        ["a-b=1"],
        ["ansible_connection=local"],
        ["branch=x"],
        ["bench_repo=1", "bench_repo=2"],
        ["bench_repo={{ lookup('pipe','id') }}"],
        ["bench_repo=x\ny"],
        ["bench_repo=" + "x" * 1025],
        ["steps=x"],
        ["fences={}"],
        ["restore_fences={}"],
        ["preflight_context=x"],
        ["bench_results=/tmp"],
        ["vars={}"],
    ):
        with pytest.raises(UsageError):
            validate.extra_vars(bad)


def test_modes_stacks_runs_and_inventories() -> None:
    assert validate.mode("check") == "check"
    assert validate.stack_name("pithead", ["pithead"]) == "pithead"
    assert validate.run_id("20260131T120000Z-0a1b2c") == "20260131T120000Z-0a1b2c"
    assert validate.inventory_path("inventories/mine") == "inventories/mine"
    for judge, bad in (
        (validate.mode, "matrix"),
        (validate.run_id, "latest"),
        (validate.run_id, "20260131T120000Z-0a1b2c\n"),
        (validate.inventory_path, ""),
        (validate.inventory_path, "host,"),
        (validate.inventory_path, "-i"),
        (validate.inventory_path, "{{x}}"),
    ):
        with pytest.raises(UsageError):
            judge(bad)
    for bad in ("../pithead", "nope", "", "Pithead"):
        with pytest.raises(UsageError):
            validate.stack_name(bad, ["pithead", "../pithead", "Pithead"])
