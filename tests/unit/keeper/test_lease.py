from __future__ import annotations

import string
from typing import Any

import pytest
from ansible_collections.benchkeeper.core.plugins.module_utils import _lease
from ansible_collections.benchkeeper.core.plugins.module_utils._lease import Boot, Deadline, Lease, LeaseError
from hypothesis import given
from hypothesis import strategies as st

names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)
numbers = st.floats(min_value=0, max_value=1e10, allow_nan=False)
deadlines = st.builds(Deadline, numbers, numbers, st.builds(Boot, names, st.integers(0, 2**40)))
leases = st.builds(
    Lease,
    resource=names,
    state=st.sampled_from(_lease.STATES),
    token=st.integers(0, 2**50),
    serial=st.integers(0, 2**50),
    run_id=names,
    nonce_hash=names,
    holder=st.dictionaries(names, st.one_of(names, st.integers(0, 2**31)), max_size=5),
    ttl=numbers,
    keep=st.booleans(),
    since=numbers,
    deadline=st.none() | deadlines,
    reason=st.text(max_size=100),
    attempts=st.integers(0, 100),
    hold=st.none() | st.just({"generation": 3, "pid": 7, "started": 9, "lost_at": 1.5}),
    expect_reboot=st.none() | st.just({"until": 12.5}),
    retry=st.none() | st.just({"boottime": 1.5, "boot": {"boot_id": "b", "init_start": 3}}),
    lock=st.none() | st.just({"path": "/run/lock/x", "holder": "/run/lock/x.holder"}),
)


def file_with(*some: Lease) -> bytes:
    raw = bytearray(_lease.encode_file(some[0]))
    for one in some[1:]:
        start = _lease.slot_offset(one.serial)
        raw[start : start + _lease.SLOT_SIZE] = _lease.encode_slot(one)
    return bytes(raw)


@given(leases)
def test_a_lease_reads_back_as_it_was_written(lease: Lease) -> None:
    raw = _lease.encode_file(lease)
    assert len(raw) == _lease.FILE_SIZE
    assert _lease.decode_file(raw) == lease


@given(leases, st.data())
def test_a_torn_write_leaves_the_older_truth(lease: Lease, data: Any) -> None:
    newer = lease.next(state=_lease.RESTORING, token=lease.token + 1)
    old = file_with(lease)
    cut = data.draw(st.integers(0, _lease.SLOT_SIZE))
    start = _lease.slot_offset(newer.serial)
    torn = old[:start] + _lease.encode_slot(newer)[:cut] + old[start + cut :]
    assert _lease.decode_file(torn) in (lease, newer)


@given(leases, st.data())
def test_a_flipped_bit_is_seen(lease: Lease, data: Any) -> None:
    raw = bytearray(file_with(lease))
    start = _lease.slot_offset(lease.serial)
    used = len(bytes(raw[start : start + _lease.SLOT_SIZE]).rstrip(b"\0"))
    place = start + data.draw(st.integers(0, used - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(LeaseError):
        _lease.decode_file(bytes(raw))


@pytest.mark.parametrize("raw", [b"", b"\0" * _lease.FILE_SIZE, b"x" * _lease.FILE_SIZE, b"\0" * 10])
def test_what_is_no_lease_is_refused(raw: bytes) -> None:
    with pytest.raises(LeaseError):
        _lease.decode_file(raw)


def test_another_format_is_not_guessed_at_even_beside_a_valid_slot() -> None:
    first = Lease("miner-0", serial=1)
    raw = bytearray(file_with(first, first.next(state=_lease.HELD)))
    start = _lease.slot_offset(2)
    raw[start + 7 : start + 8] = b"2"
    with pytest.raises(_lease.UnknownFormatError):
        _lease.decode_file(bytes(raw))


def test_a_lease_too_long_for_a_slot_is_refused_and_a_reason_is_cut() -> None:
    lease = Lease("miner-0").next(reason="x" * 10_000)
    assert len(lease.reason) < 2000
    with pytest.raises(LeaseError):
        _lease.encode_slot(lease.next(run_id="r" * 5000))


@pytest.mark.parametrize(
    ("boottime", "boot", "over"),
    [(99.9, Boot("a", 1), False), (100.0, Boot("a", 1), True), (5.0, Boot("a", 2), True), (5.0, Boot("b", 1), True)],
)
def test_a_deadline_counts_time_since_boot_and_ends_with_the_boot(boottime: float, boot: Boot, over: bool) -> None:
    assert Deadline(wall=1e12, boottime=100.0, boot=Boot("a", 1)).passed(boottime, boot) is over


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "a" * 65, "a\n", None, 3, "ä"])
def test_names_that_are_no_names(name: Any) -> None:
    with pytest.raises(ValueError, match="must be a name"):
        _lease.check_name("resource", name)


def test_the_nonce_is_recognised_and_not_kept() -> None:
    lease = Lease("miner-0", nonce_hash=_lease.hash_nonce("very secret nonce"))
    assert lease.owned_by("very secret nonce")
    assert not lease.owned_by("another nonce....")
    assert not Lease("miner-0").owned_by("")
    assert b"very secret" not in _lease.encode_file(lease)
