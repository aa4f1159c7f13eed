"""The pure parts of engine, images, machines and SSH files."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchkeeper import bare, debian, engine_packages, images, inventory, labels, leases, machines, spec, sshfiles, subnets
from benchkeeper.errors import UnfitError, UsageError
from benchkeeper.paths import Paths

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib

Enabled: no
Types: deb
URIs: http://other.example/debian
Suites: trixie
Components: main
"""


def test_sources_of_both_formats_are_read() -> None:
    found = debian.parse_deb822(DEB822)
    assert [source.suite for source in found] == ["bookworm", "bookworm-updates", "bookworm-security"]
    assert debian.main_mirror(found, "bookworm").uri == "http://mirror.example/debian"
    security = debian.security_mirror(found, "bookworm")
    assert security is not None
    assert security.uri.endswith("-security")
    lines = "deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # x\n#deb http://n/ x main\n"
    assert debian.parse_list(lines) == [debian.Source("http://m/debian", "bookworm", ("main", "contrib"), "/k.gpg")]
    with pytest.raises(UnfitError):
        debian.main_mirror(found, "trixie")


def test_engine_packages_by_release() -> None:
    assert "docker-cli" in engine_packages.engine_packages({"ID": "debian", "VERSION_ID": "12"})
    assert "docker-compose-v2" in engine_packages.engine_packages({"ID": "ubuntu", "VERSION_ID": "24.04"})
    with pytest.raises(UnfitError, match="Fedora"):
        engine_packages.engine_packages({"ID": "fedora", "PRETTY_NAME": "Fedora 42"})
    own = debian.Source("http://m/debian", "bookworm", ("main",), "")
    assert "URIs: http://m/debian\nSuites: trixie" in engine_packages.source_text(own)
    assert debian.os_release('ID=debian\nVERSION_ID="12"\n') == {"ID": "debian", "VERSION_ID": "12"}


ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
"""


def test_routes_and_nameservers() -> None:
    assert [str(network) for network in subnets.parse_routes(ROUTES)] == ["172.17.0.0/16", "192.0.2.0/24"]
    assert subnets.parse_nameservers("# x\nnameserver 1.2.3.4\nsearch a\nnameserver fe80::1%eth0\n") == ["1.2.3.4", "fe80::1%eth0"]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 4095), max_size=30))
def test_a_subnet_never_meets_what_is_used_or_used_inside(number: int, taken: list[int]) -> None:
    used = [ipaddress.IPv4Network((int(subnets.POOL.network_address) + (position << 8), 24)) for position in taken]
    chosen = next(subnets.free_subnets(f"{number:08x}", used, ["10.210.0.53"]))
    assert not any(chosen.overlaps(other) for other in [*used, *subnets.RESERVED])
    assert ipaddress.IPv4Address("10.210.0.53") not in chosen
    inner = [ipaddress.IPv4Network(subnets.INNER_POOL), ipaddress.IPv4Interface(subnets.INNER_BRIDGE).network]
    assert not any(chosen.overlaps(network) for network in inner)


def test_no_subnet_left() -> None:
    assert list(subnets.free_subnets("00000000", [subnets.POOL])) == []


def test_plan_takes_addresses_in_order_and_limits_by_name() -> None:
    needs = spec.parse_needs(
        "machine_packages: [xmrig]\nmachines: {bench-0: {}, miner-0: {cpus: 0.4, memory: 1g, cpu_shares: 256}}\n"
    )
    first, second = spec.plan(["bench-0", "miner-0"], "10.220.9.0/24", "image:1", needs)
    assert (first.address, first.cpus, first.memory, first.cpu_shares) == ("10.220.9.10", None, None, None)
    assert (second.address, second.cpus, second.memory, second.cpu_shares) == ("10.220.9.11", 0.4, "1g", 256)
    assert needs.packages == ("xmrig",)
    for bad in ("machine_packages: xmrig", "machines: [a]", "machines: {a: 1}"):
        with pytest.raises(UnfitError):
            spec.parse_needs(bad)


def test_a_stack_gets_the_machines_it_names_and_all_when_it_names_none() -> None:
    names = ["bench-0", "miner-0", "pool-0"]

    def planned(text: str) -> list[tuple[str, str, str]]:
        found = spec.plan(names, "10.220.9.0/24", "image:1", spec.parse_needs(text), "a")
        return [(one.name, one.address, one.stack) for one in found]

    # A machine keeps its address whatever the others are.
    assert planned("machines: {pool-0: {}}") == [("pool-0", "10.220.9.12", "a")]
    assert [name for name, _address, _stack in planned("machines: {}")] == names
    with pytest.raises(UnfitError, match="the inventory has no pool-1; it has bench-0, miner-0, pool-0"):
        planned("machines: {pool-1: {}}")


def test_another_stack_means_other_machines(tmp_path: Path) -> None:
    """Also where it needs the same: nothing of one stack's baseline is left for the other. Which it has no use for must go."""

    class Bench(machines.Bench):
        def __init__(self, stack: str, *names: str) -> None:
            self.machines = [spec.Machine(name, "10.0.0.1", "image:1", None, None, stack) for name in names]

        def wanted_config(self, machine: spec.Machine) -> str:
            return spec.config_hash(machine, "sha256:1", {}, {})

    there = Bench("a", "bench-0", "miner-0")
    configs = {machine.name: there.wanted_config(machine) for machine in there.machines}
    seen = {
        name: machines.Seen(name, name, "id", "running", "", "image:1", config, attached=True) for name, config in configs.items()
    }
    assert there.ready(seen)
    assert Bench("a", "bench-0").changed(seen) == ["miner-0"]
    assert not Bench("a", "bench-0").ready(seen)
    assert Bench("b", "bench-0", "miner-0").changed(seen) == ["bench-0", "miner-0"]


@pytest.mark.parametrize(("text", "lent"), [("{borrow: {}}", True), ("{name: a}", False)])
def test_a_stack_lends_miners_when_its_profile_says_how(tmp_path: Path, text: str, *, lent: bool) -> None:
    path = tmp_path / "stacks" / "a" / "profile.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert spec.lends(Paths(tmp_path), "a") is lent


@pytest.mark.parametrize("text", ["[", "[]", "", "\udcff"])
def test_a_profile_that_cannot_be_read_is_said_before_anything_is_done(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stacks" / "a" / "profile.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UsageError, match=r"bench validate a$"):
        spec.lends(Paths(tmp_path), "a")


def test_a_machine_changes_when_anything_it_is_made_from_changes() -> None:
    machine = spec.Machine("a", "10.0.0.1", "image:1", None, None)
    base = spec.config_hash(machine, "sha256:1", {"f": "x"}, {"a": "10.0.0.1"})
    assert base == spec.config_hash(machine, "sha256:1", {"f": "x"}, {"a": "10.0.0.1"})
    others = {
        spec.config_hash(machine, "sha256:2", {"f": "x"}, {"a": "10.0.0.1"}),
        spec.config_hash(machine, "sha256:1", {"f": "y"}, {"a": "10.0.0.1"}),
        spec.config_hash(machine, "sha256:1", {"f": "x"}, {"a": "10.0.0.1", "b": "10.0.0.2"}),
        spec.config_hash(spec.Machine("a", "10.0.0.1", "image:1", 0.5, None), "sha256:1", {"f": "x"}, {"a": "10.0.0.1"}),
        spec.config_hash(spec.Machine("a", "10.0.0.1", "image:1", None, None, "b"), "sha256:1", {"f": "x"}, {"a": "10.0.0.1"}),
        spec.config_hash(
            spec.Machine("a", "10.0.0.1", "image:1", None, None, cpu_shares=2), "sha256:1", {"f": "x"}, {"a": "10.0.0.1"}
        ),
    }
    assert len(others | {base}) == 7


def test_inner_engines_get_name_servers_and_subnets_of_their_own() -> None:
    settings = json.loads(spec.engine_settings(["10.1.1.1"]))
    assert settings["dns"] == ["10.1.1.1"]
    assert settings["default-address-pools"] == [{"base": subnets.INNER_POOL, "size": 24}]
    assert "dns" not in json.loads(spec.engine_settings([]))


def test_ownership_needs_all_three() -> None:
    mine = labels.triple("0a1b2c3d")
    assert labels.ours(mine, "0a1b2c3d")
    assert labels.ours(mine, "0a1b2c3d", labels.BENCH)
    assert not labels.ours(mine, "ffffffff")
    assert not labels.ours(mine, "0a1b2c3d", "pithead")
    assert not labels.ours(None, "0a1b2c3d")
    for key in mine:
        assert not labels.ours({other: value for other, value in mine.items() if other != key}, "0a1b2c3d")


def test_image_tags_follow_content(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n", encoding="utf-8")
    recipe = images.Recipe("machine", tmp_path, "bench", {"PACKAGES": "a"})
    tag = images.tag_of(recipe, "sha256:base")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert images.tag_of(recipe, "sha256:base") == tag
    assert images.tag_of(recipe, "sha256:other") != tag
    assert images.tag_of(images.Recipe("machine", tmp_path, "bench", {"PACKAGES": "b"}), "sha256:base") != tag
    assert not recipe.needs_trust()
    (tmp_path / "Dockerfile").write_text("FROM x\nRUN --mount=type=secret,id=ca true\n", encoding="utf-8")
    assert images.tag_of(recipe, "sha256:base") != tag
    assert recipe.needs_trust()


def test_ssh_configuration_is_strict(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a b")
    text = sshfiles.config_text(paths, {"bench-0": "10.220.9.10"}, Path("/tmp/c"))
    assert "Host bench-0\n  HostName 10.220.9.10\n" in text
    assert "StrictHostKeyChecking yes" in text
    assert f'IdentityFile "{tmp_path}/a b/.bench/ssh/id_ed25519"' in text


INVENTORY = """\
all:
  hosts:
    localhost: {ansible_connection: local}
  children:
    benches: {hosts: {bench-0: }}
    miners: {children: {fast: {hosts: {miner-0: , miner-1: }}}}
"""


def test_inventories_are_read_alike_by_us_and_by_ansible() -> None:
    plain = inventory.from_yaml(INVENTORY)
    assert plain == inventory.Hosts(("bench-0",), ("miner-0", "miner-1"), ("bench-0", "miner-0", "miner-1"))
    listing = {
        "_meta": {"hostvars": {"localhost": {"ansible_connection": "local"}}},
        "all": {"children": ["benches", "miners", "ungrouped"]},
        "ungrouped": {"hosts": ["localhost"]},
        "benches": {"hosts": ["bench-0"]},
        "miners": {"children": ["fast"]},
        "fast": {"hosts": ["miner-0", "miner-1"]},
    }
    assert inventory.from_listing(listing) == plain


def test_leases_are_read_and_what_cannot_be_read_blocks() -> None:
    answer = {
        "leases": [
            {"resource": "miner-0", "state": "held", "run_id": "r", "deadline": "2026-01-01T00:00:00Z",
             "holder": {"user": "me", "host": "here", "pid": 7}},
            {"resource": "x", "state": "free"},
        ],
    }  # fmt: skip
    found = leases.parse("miner-0", json.dumps(answer))
    assert found[0] == leases.Lease("miner-0", "miner-0", "me@here pid 7", "r", "held", "2026-01-01T00:00:00Z")
    assert [lease.resource for lease in leases.held(found)] == ["miner-0"]
    assert leases.parse("a", "{}") == []
    for broken in ("", "[]", "null", '{"leases": 1}', '{"leases": [1]}'):
        assert [lease.state for lease in leases.parse("a", broken)] == ["unreadable"]


def test_phases_are_timed_from_progress_lines() -> None:
    lines = [(0.5, "   0s  setup    a"), (2.0, "noise"), (3.0, "   3s  images   b"), (4.0, "   4s  setup    c")]
    assert bare.time_phases(lines, 10.0) == {"start": 0.5, "setup": 8.5, "images": 1.0}
