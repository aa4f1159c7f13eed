"""F8, F12-F14, F16-F18, F21: files and commands on a machine that is full, damaged, written by others, or hostile."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.crash.machine import KEEPER, STATE, Loan, Machine, wish
from tests.e2e.crash.playing import Play

if TYPE_CHECKING:
    from pathlib import Path

HELD, UNPROVEN, UNFIT, CONFLICT = 75, 4, 2, 3
EDIT = {"json": [{"op": "set", "path": "pool", "value": "ours:3333"}]}
THEIRS = json.dumps({"pool": "theirs:3333", "threads": 1}, indent=4) + "\n"


@pytest.fixture
def config(miner: Machine) -> str:
    """A file that somebody else owns."""
    path = f"{miner.place}/config.json"
    miner.write(path, THEIRS)
    miner.sh(f"chown ops:ops {path}; chmod 640 {path}")
    return path


def whole(miner: Machine, path: str) -> str:
    """Return everything that must be the same of a file."""
    return miner.sh(f"stat -c '%a %U %G %s %Y' {path}; sha256sum <{path}")


def lent(miner: Machine, path: str, **more: Any) -> Loan:
    loan = miner.lend(**more)
    loan.looking_at(path)
    loan.does("file", "mine", path=path, edit=EDIT, canonical=["pool"])
    return loan


# F8: full disks. The machines share their computer's disk, so what is full is a small filesystem of the case's own.


def fill(miner: Machine, folder: str) -> None:
    """Take every byte that is left."""
    miner.sh(f"cat /dev/zero >{folder}/filler 2>/dev/null || true; if echo more 2>/dev/null >>{folder}/filler; then exit 9; fi")


def unmount(miner: Machine, folder: str) -> None:
    """Take a filesystem away; the sweep may be looking at it at this moment."""
    miner.sh(f"for turn in $(seq 50); do umount {folder} && exit 0; sleep 0.1; done; exit 1")


@pytest.mark.case(
    "F8",
    tier="machine",
    oracle="where the original does not fit beside the file nothing is borrowed, and nothing is left",
)
def test_a_disk_without_room_for_the_original(miner: Machine) -> None:
    miner.sh(f"mount -t tmpfs -o size=512k small {miner.place}")
    path = f"{miner.place}/config.json"
    miner.write(path, json.dumps({"pool": "theirs:3333", "long": "x" * 100_000}))
    before = whole(miner, path)
    loan = miner.lend()
    loan.looking_at(path)
    fill(miner, miner.place)
    refused = loan.call("file", "mine", path=path, edit=EDIT)
    assert refused["code"] != 0
    assert "space" in refused["error"]["message"].lower()
    assert whole(miner, path) == before
    assert miner.must("release", fence=loan.fence)["released"]
    assert miner.names() == ["./config.json", "./filler"]
    loan.is_over()


@pytest.mark.case("F8", tier="machine", oracle="where the journal does not fit no lease is given, and nothing is left of it")
def test_a_disk_without_room_for_the_journal(miner: Machine) -> None:
    runs = f"{STATE}/runs"
    miner.sh(f"mount -t tmpfs -o size=128k,mode=700 small {runs}")
    try:
        refused = miner.ask("acquire", **wish("miner-1"))
        assert (refused["code"], refused["error"]["kind"]) == (UNFIT, "unfit"), refused
        assert "space" in refused["error"]["message"]
        assert miner.status()["state"] == "free"
    finally:
        unmount(miner, runs)
    assert miner.must("release", fence=miner.lend().fence)["released"]


@pytest.mark.case(
    "F8",
    tier="machine",
    oracle="originals come back on full disks, the machine is not lent meanwhile, and is free once there is room",
)
def test_a_restore_while_every_disk_is_full(miner: Machine) -> None:
    runs = f"{STATE}/runs"
    miner.sh(f"mount -t tmpfs -o size=512k small {miner.place}; mount -t tmpfs -o size=1m,mode=700 small {runs}")
    try:
        path = f"{miner.place}/config.json"
        miner.write(path, json.dumps({"pool": "theirs:3333", "long": "x" * 100_000}))
        before = whole(miner, path)
        loan = lent(miner, path)
        fill(miner, miner.place)
        fill(miner, runs)
        assert whole(miner, path) != before
        loan.recover()
        assert whole(miner, path) == before
        if miner.status()["state"] != "free":
            assert miner.ask("acquire", **wish("miner-1"))["code"] in (HELD, UNPROVEN, 1)
        miner.sh(f"rm -f {runs}/filler")
        loan.is_over(30)
        assert whole(miner, path) == before
        assert miner.names() == ["./config.json", "./filler"]
    finally:
        unmount(miner, runs)


# F12: a damaged journal

# Flips bits in many places of a journal, one at a time, and asks whether that is noticed.
FLIP = """
import json, subprocess, sys
path, keeper, resource = sys.argv[1:4]
whole = open(path, "rb").read()
for place in range(0, len(whole) - 1, max(1, len(whole) // 25)):
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes([whole[place] ^ (1 << place % 8)]))
    said = json.loads(subprocess.run([keeper, "status", "--json"], capture_output=True, check=True).stdout)
    row = next(one for one in said["leases"] if one["resource"] == resource)
    if "the journal cannot be read" not in row["reason"] or row["items"]:
        print(place, row["reason"], row["items"])
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(whole[place:place + 1])
assert open(path, "rb").read() == whole
"""


@pytest.mark.case("F12", tier="machine", oracle="a flipped bit anywhere in a journal is noticed")
def test_a_flipped_bit_anywhere_in_the_journal(miner: Machine, config: str) -> None:
    loan = lent(miner, config, ttl=300)
    journal = f"{STATE}/runs/{loan.run_id}/miner-1/journal.jsonl"
    done = miner.run("python3", "-c", FLIP, journal, KEEPER, "miner-1", timeout=180)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert loan.recover()["proven"]
    assert miner.read(config) == THEIRS.rstrip("\n")
    loan.is_over()


@pytest.mark.case("F12", tier="machine", oracle="a torn last line is cut, and the restore goes on")
def test_a_torn_last_line(miner: Machine, config: str) -> None:
    before = whole(miner, config)
    loan = lent(miner, config)
    folder = f"{STATE}/runs/{loan.run_id}/miner-1"
    miner.sh(f'torn=$(tail -n1 {folder}/journal.jsonl | head -c 40); printf %s "$torn" >>{folder}/journal.jsonl')
    assert loan.recover()["proven"]
    assert whole(miner, config) == before
    loan.is_over()


EVIL = (
    '{"argv":["touch","PLACE/executed"],"crc":"00000000","group":"g","guards":[],"item":"evil","kind":"command","path":"PLACE/bait",'
    '"seq":6,"type":"INTENT","undo":{"argv":["touch","PLACE/executed"]},"v":1}'
)
DAMAGE = {
    "a line twice": 'tail -n1 "$J" >"$J.x"; cat "$J.x" >>"$J"; rm "$J.x"',
    "empty": ': >"$J"',
    "missing": 'rm "$J"',
    "not JSON": "sed -i '2s/^{/[/' \"$J\"",
    "a line lost": 'sed -i 2d "$J"',
    "a link": 'mv "$J" "$P/elsewhere"; ln -s "$P/elsewhere" "$J"',
    "a directory": 'rm "$J"; mkdir "$J"',
    # It names a command and a file of somebody else; only its checksum is wrong.
    "a line of somebody else": 'sed "s#PLACE#$P#g" >>"$J" <<END\n' + EVIL + "\nEND",
}


@pytest.mark.case(
    "F12",
    tier="machine",
    oracle="a damaged journal is acted upon in nothing: quarantine, no other machine or resource is kept from coming back",
)
def test_a_damaged_journal(miner: Machine, config: str) -> None:
    before = whole(miner, config)
    miner.write(f"{miner.place}/bait", "somebody else's\n")
    loan = lent(miner, config, ttl=600)
    neighbour = f"{miner.place}/neighbour.json"
    miner.write(neighbour, THEIRS)
    folder = f"{STATE}/runs/{loan.run_id}/miner-1"
    miner.sh(f"cp -p {folder}/journal.jsonl {miner.place}/kept")
    for number, (name, script) in enumerate(DAMAGE.items()):
        miner.sh(f"J={folder}/journal.jsonl P={miner.place}; {script}")
        other = lent(miner, neighbour, resource=f"neighbour-{number}", ttl=600) if name in ("a link", "empty") else None
        refused = loan.recover()
        assert refused["code"] == UNPROVEN, (name, refused)
        assert "journal" in refused["resources"]["miner-1"]["reason"], (name, refused)
        now = miner.status()
        assert (now["state"], now["retry_in"]) == ("unproven", None), (name, now)
        assert json.loads(miner.read(config))["pool"] == "ours:3333", name
        assert miner.read(f"{miner.place}/bait") == "somebody else's"
        assert "./executed" not in miner.names()
        assert miner.ask("acquire", **wish("miner-1"))["code"] in (HELD, UNPROVEN)
        # The one beside it comes back by itself, and the sweep still lives.
        if other is not None:
            miner.must("renew", fence=other.fence, ttl=0.5)
            miner.until_state("free", 45, other.resource)
        assert miner.read(neighbour) == THEIRS.rstrip("\n")
        miner.sh(f"rm -rf {folder}/journal.jsonl {miner.place}/elsewhere; cp -p {miner.place}/kept {folder}/journal.jsonl")
    assert loan.recover()["proven"]
    assert whole(miner, config) == before
    assert miner.names() == ["./bait", "./config.json", "./kept", "./neighbour.json"]
    loan.is_over()


# F13: configurations that are none

UNREADABLE = {
    "half": '{"pool": "the',
    "empty": "",
    "blank": " \\n",
    "no JSON": "pool=theirs\\n",
    "byte order mark": "\\357\\273\\277{}",
    "UTF-16": "\\377\\376{\\000}\\000",
    "not UTF-8": '{"pool": "\\377"}',
    "the same key twice": '{"pool": "a", "pool": "b"}',
    "a list": "[]",
    "not a number": '{"pool": NaN}',
    "larger than any number": '{"pool": 1e400, "threads": -1e999}',
    "octal and hexadecimal": '{"pool": 0x10}',
}


@pytest.mark.case("F13", tier="machine", oracle="a configuration that is none is not borrowed: typed refusal, not a byte written")
def test_configurations_that_are_none(miner: Machine) -> None:
    script = "".join(f"printf '{text}' >{miner.place}/{number}.json\n" for number, text in enumerate(UNREADABLE.values()))
    names = [*UNREADABLE, "too large", "nested too deeply"]
    miner.sh(script)
    for number, inside in ((len(names) - 2, "'\"' + 'x' * 10**7 + '\"'"), (len(names) - 1, "'[' * 700 + ']' * 700")):
        spell = f"print('{{\"pool\": ' + {inside} + '}}')"
        miner.sh(f"python3 -c {shlex.quote(spell)} >{miner.place}/{number}.json")
    look = f"cd {miner.place}; stat -c '%n %i %s %Y %Z %a' *; sha256sum *"
    before = miner.sh(look)
    loan = miner.lend(ttl=300)
    loan.look()
    for number, name in enumerate(names):
        refused = loan.call("file", "mine", path=f"{miner.place}/{number}.json", edit=EDIT, canonical=["pool"])
        assert (refused["code"], refused["error"]["kind"]) == (UNFIT, "unfit"), (name, refused)
    assert miner.must("release", fence=loan.fence)["released"]
    assert miner.sh(look) == before
    assert len(miner.names()) == len(names)
    loan.is_over()


@pytest.mark.case("F13", tier="machine", oracle="one with other line ends is edited, and comes back byte for byte")
def test_a_configuration_with_other_line_ends(miner: Machine) -> None:
    path = f"{miner.place}/config.json"
    miner.sh(f'printf \'{{\\r\\n  "pool": "theirs",\\r\\n  "threads": 1\\r\\n}}\\r\\n\' >{path}')
    before = whole(miner, path)
    loan = lent(miner, path)
    assert json.loads(miner.read(path))["pool"] == "ours:3333"
    assert loan.recover()["proven"]
    assert whole(miner, path) == before
    loan.is_over()


# F14: somebody else writes what is borrowed


@pytest.mark.case(
    "F14",
    tier="machine",
    oracle="a third version ends the borrow in seconds; both versions are kept until a person settles it",
)
@pytest.mark.parametrize("keep", ["original", "current"])
def test_somebody_else_writes_the_borrowed_file(miner: Machine, config: str, keep: str) -> None:
    before = whole(miner, config)
    loan = lent(miner, config, ttl=300)
    third = json.dumps({"pool": "third:3333", "threads": 2}) + "\n"
    miner.write(config, third)
    miner.until_state("unproven", 20)
    assert miner.read(config) == third.rstrip("\n")
    hidden = [name for name in miner.names() if ".bk-" in name]
    assert len(hidden) == 1
    assert miner.read(f"{miner.place}/{hidden[0]}") == THEIRS.rstrip("\n")
    assert miner.ask("acquire", **wish("miner-1"))["code"] == HELD
    loan.is_refused(config)
    told = miner.run("keeper", "status").stdout
    line = next(one for one in told.splitlines() if "keeper settle mine" in one)
    words = [*shlex.split(line.replace("original|current", keep).replace("'why'", "test").split("sudo ", 1)[1])]
    done = miner.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    if keep == "original":
        assert whole(miner, config) == before
    else:
        assert miner.read(config) == third.rstrip("\n")
    assert miner.names() == ["./config.json"]
    loan.is_over()


@pytest.mark.case(
    "F14",
    tier="machine",
    oracle="an owner's tool that renders the original again is answered by policy: armed again, and back at the end",
)
def test_the_owners_tool_renders_the_original_again(miner: Machine, config: str) -> None:
    before = whole(miner, config)
    loan = miner.lend(ttl=300)
    loan.looking_at(config)
    loan.does("file", "mine", path=config, edit=EDIT, canonical=["pool"], on_conflict="rearm")
    miner.sh(f"cp -p {config} {miner.place}/ours")
    miner.write(config, THEIRS)
    miner.until("it is ours again", lambda: "ours:3333" in miner.read(config), 15)
    assert miner.status()["state"] == "held"
    miner.sh(f"rm {miner.place}/ours")
    assert loan.recover()["proven"]
    assert whole(miner, config).split()[:4] == before.split()[:4]
    assert miner.read(config) == THEIRS.rstrip("\n")
    loan.is_over()


# F16: hostile values

HOSTILE = {
    "pool": "theirs:3333",
    "template": "{{ lookup('pipe', 'touch MARK') }}",
    "{{ lookup('pipe', 'touch MARK') }}": "a key",
    "statement": "{% for x in ().__class__.__bases__ %}{% endfor %}",
    "python": "!!python/object/apply:os.system ['touch MARK']",
    "shell": "$(touch MARK) `touch MARK`; touch MARK",
    "words": ["no", "1e3", "0x10", "~", "null", "yes"],
    "numbers": [1e3, 12345678901234567890, 0.1, -0.0],
    "__proto__": {"constructor": {"prototype": 1}},
    "dotted.key": {"a.b": 1},
    "quotes": "'\"\\ %s %(x)s {0} \u0000 \u202e \U0001f600",
    "deep": json.loads("[" * 30 + "]" * 30),
}


@pytest.mark.case(
    "F16",
    tier="machine",
    oracle="hostile values travel through look, edit and restore as they are: nothing is templated or executed",
)
def test_hostile_values_in_a_configuration(miner: Machine, tmp_path: Path) -> None:
    path, mark = f"{miner.place}/config.json", f"/tmp/crash-{miner.place[-6:]}"
    text = json.dumps(HOSTILE).replace("MARK", mark)
    miner.write(path, text)
    before = whole(miner, path)
    play = Play(tmp_path, miner)
    probes = {"values": {"kind": "json", "path": path, "show": "*"}}
    play.task("host_snapshot_info", "seen", host=miner.name, run_id=play.run_id, probes=probes)
    play.task("host_proof", probes={"config": {"kind": "file", "path": path}}, proof={"deadline": 5}, lease=play.lease)
    again = {"op": "set", "path": ["again"], "value": "{{ (seen.snapshot.observed['values']['values'] | string) }}"}
    play.task("guarded_file", item="mine", path=path, edit={"json": [*EDIT["json"], again]}, lease=play.lease)
    play.plain("ansible.builtin.debug", var="seen.snapshot.observed")
    done = play.to_the_end()
    assert done.returncode == 0, done.stdout
    now = json.loads(miner.read(path))
    assert "touch" in now.pop("again")  # it was looked at, and came back through a template of ours
    assert now == {**json.loads(text), "pool": "ours:3333"}
    recovered = miner.ask("recover", resource=miner.name, run_id=play.run_id, nonce=play.nonce)
    assert recovered["proven"], recovered
    assert whole(miner, path) == before
    assert miner.run("test", "-e", mark).returncode == 1
    assert not play.here(mark), "it was executed on the controller"


# F17: what commands print

LOGS = """
import os, sys
block = os.urandom(65536).replace(b"\\n", b"\\xff") + b"\\x1b[31m\\x1b]0;title\\x07"
size = 0
while size < int(sys.argv[1]):
    size += os.write(1, block)
secret = open(sys.argv[2]).read().partition("=")[2].strip().encode()
for cut in range(1, len(secret)):  # a piece ends in the middle of it
    os.write(1, b"\\xff" * 999 + secret[:cut])
    os.write(1, secret[cut:])
for line in open(f"/proc/{os.getppid()}/status"):
    if line.startswith("VmHWM"):
        os.write(1, b"\\nmemory " + line.split()[1].encode())
os.write(1, b"\\nthe very end\\n")
os.fork() or os.execv("/usr/bin/sleep", ["sleep", "617"])  # a child that keeps the pipe
"""
LOG_BYTES = 1024 * 1024 * 1024


@pytest.mark.case(
    "F17",
    tier="machine",
    oracle="1 GiB of odd output: bounded memory and disk, the end is kept, no secret travels, nothing waits for ever",
)
def test_huge_and_odd_output(miner: Machine) -> None:
    env = f"{miner.place}/.env"
    secret = "s3cret-value-that-nobody-may-see"
    miner.write(env, f"PROXY_AUTH_TOKEN={secret}\n")
    miner.write(f"{miner.place}/logs.py", LOGS)
    loan = miner.lend(ttl=600)
    loan.looking_at(env)
    argv = ["python3", f"{miner.place}/logs.py", str(LOG_BYTES), env]
    begun = time.monotonic()
    done = loan.starts("command", "noise", argv=argv, undo={"argv": ["true"]}, timeout=300, redact={"dotenv": [env]}).answer(330)
    assert (done["code"], done["rc"], done["timed_out"]) == (0, 0, False), done
    assert time.monotonic() - begun < 240
    assert done["stdout_tail"].endswith("\nthe very end\n")
    assert secret not in json.dumps(done)
    memory = int(done["stdout_tail"].rsplit("memory ", 1)[1].split()[0])
    assert memory < 100_000, f"the unit's own program used {memory} kB"
    size = int(miner.sh(f"du -sb {STATE}/runs/{loan.run_id} | cut -f1"))
    assert size < 8 * 1024 * 1024
    assert loan.recover()["proven"]
    assert miner.processes("sleep 617") == [], "a child of the command lives on"
    loan.is_over()


@pytest.mark.case("F17", tier="machine", oracle="a million lines a second do not stop a command from being ended by its time limit")
def test_a_flood_of_lines_is_ended_by_its_time_limit(miner: Machine) -> None:
    loan = miner.lend(ttl=300)
    loan.looking_at()
    done = loan.does("command", "flood", argv=["yes", "a line of a flood"], undo={"argv": ["true"]}, timeout=3)
    assert (done["rc"], done["timed_out"]) == (124, True)
    assert done["seconds"] < 15
    assert len(done["stdout_tail"]) <= 16 * 1024
    assert loan.recover()["proven"]
    loan.is_over()


# F18: one undo of several fails


@pytest.mark.case(
    "F18",
    tier="machine",
    oracle="of five changes the third cannot be undone: the others are, it is named and tried again, and ends by itself",
)
def test_one_undo_of_five_fails_for_a_while(miner: Machine) -> None:
    place = miner.place
    for number in (1, 2, 4, 5):
        miner.write(f"{place}/file{number}", f"theirs {number}\n")
    loan = miner.lend(ttl=300)
    loan.looking_at(*(f"{place}/file{number}" for number in (1, 2, 4, 5)))
    for number in range(1, 6):
        if number == 3:
            undo = {"argv": ["sh", "-c", f"test -e {place}/allowed && rm {place}/on3"]}
            loan.does("command", "third", group="g3", argv=["touch", f"{place}/on3"], undo=undo)
        else:
            loan.does("file", f"file{number}", group=f"g{number}", path=f"{place}/file{number}", content="ours\n")
    failed = loan.recover()
    assert (failed["code"], failed["restored"]) == (UNPROVEN, False)
    verdicts = {one["item"]: one["verdict"] for one in failed["resources"]["miner-1"]["items"]}
    assert verdicts == {"file1": "PUT_BACK", "file2": "PUT_BACK", "third": "FAILED", "file4": "PUT_BACK", "file5": "PUT_BACK"}
    for number in (1, 2, 4, 5):
        assert miner.read(f"{place}/file{number}") == f"theirs {number}"
    now = miner.status()
    assert now["state"] == "unproven"
    assert "third" in now["reason"]
    assert "file" not in now["reason"]
    assert 0 <= now["retry_in"] <= 600
    assert miner.ask("acquire", **wish("miner-1"))["code"] == HELD
    attempts = int(now["attempts"])
    miner.until("it was tried again by itself", lambda: miner.status()["attempts"] > attempts, 40)
    miner.sh(f"touch {place}/allowed")
    miner.until_state("free", 60)
    miner.sh(f"rm {place}/allowed")
    assert "./on3" not in miner.names()
    loan.is_over()


# F21: no descriptors, no memory, no room for a file

LIMITS = {
    "no descriptors": "--nofile=4",
    "few descriptors": "--nofile=7",
    "no memory": "--as=20000000",
    "little memory": "--as=45000000",
    "no long files": "--fsize=65536",
    "no files at all": "--fsize=1",
}


@pytest.mark.case(
    "F21",
    tier="machine",
    oracle="a borrow without descriptors, memory or room is whole or none; in any case everything comes back",
)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_borrow_that_runs_out_of_something(miner: Machine, limit: str) -> None:
    path = f"{miner.place}/config.json"
    miner.write(path, json.dumps({"pool": "theirs:3333", "long": "x" * 200_000}) + "\n")
    before = whole(miner, path)
    loan = miner.lend()
    loan.looking_at(path)
    request = {"fence": loan.fence, "item": "mine", "path": path, "edit": EDIT}
    done = miner.run("prlimit", LIMITS[limit], KEEPER, "call", "file", text=json.dumps(request))
    now = miner.read(path)
    assert "ours:3333" in now or done.returncode != 0, done.stdout + done.stderr
    if limit.startswith("no"):
        assert done.returncode != 0, "the limit did not bite"
        assert whole(miner, path) == before
    recovered = loan.recover()
    assert recovered["proven"], recovered
    assert whole(miner, path) == before
    assert miner.names() == ["./config.json"]
    loan.is_over()


@pytest.mark.case(
    "F21",
    tier="machine",
    oracle="what a worker that was killed in the middle of a write leaves is kept beside the original",
)
def test_a_worker_that_is_killed_in_the_middle_of_a_write(miner: Machine, config: str) -> None:
    before = whole(miner, config)
    loan = lent(miner, config, ttl=300)
    argv = ["sh", "-c", f"echo half >{config}; kill -9 $$"]
    done = loan.does("command", "worker", argv=argv, undo={"argv": ["true"]}, timeout=60)
    assert done["rc"] == 128 + 9
    # Half a file is a third version as far as anybody can tell: it is not thrown away.
    miner.until_state("unproven", 30)
    assert miner.read(config) == "half"
    assert [name for name in miner.names() if ".bk-" in name]
    done = miner.ask("settle", resource="miner-1", item="mine", keep="original", reason="a worker wrote half a file")
    assert done["proven"], done
    assert whole(miner, config) == before
    assert miner.names() == ["./config.json"]
    loan.is_over()
