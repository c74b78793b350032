"""Gossip keys: several open, one seals, and none is shown."""

import pytest

from ringgossip.errors import UsageError
from ringgossip.identity.keyring import MAX_KEYS, KeyRing, key_id

OLD, NEW = bytes(32), bytes([1] * 32)


def test_a_key_is_changed_by_add_use_remove() -> None:
    ring = KeyRing([OLD])
    new = ring.add(NEW)
    assert ring.used == key_id(OLD)
    ring.use(new)
    assert ring.used == key_id(NEW)
    ring.remove(key_id(OLD))
    assert ring.ids() == [new]
    assert ring.get(key_id(OLD)) is None


def test_the_key_in_use_stays() -> None:
    ring = KeyRing([OLD, NEW])
    with pytest.raises(UsageError, match="is in use"):
        ring.remove(key_id(OLD))


def test_an_unknown_key_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="add it first"):
        KeyRing([OLD]).use(key_id(NEW))


def test_a_ring_is_written_with_the_key_in_use_first() -> None:
    ring = KeyRing([OLD, NEW])
    ring.use(key_id(NEW))
    again = KeyRing.parse(ring.text())
    assert again.used == key_id(NEW)
    assert again.ids() == [key_id(NEW), key_id(OLD)]


def test_a_ring_is_bounded_and_never_empty() -> None:
    with pytest.raises(UsageError, match="at least one"):
        KeyRing.parse("\n")
    with pytest.raises(UsageError, match="at most"):
        KeyRing([bytes([n] * 32) for n in range(MAX_KEYS + 1)])


@pytest.mark.parametrize("text", ["zz", "00ff", "00" * 33])
def test_a_bad_line_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        KeyRing.parse(text)
    assert text not in str(caught.value)


def test_two_keys_of_one_id_are_not_taken() -> None:
    seen: dict[bytes, bytes] = {}
    number = 0
    while True:
        key = number.to_bytes(32, "big")
        if key_id(key) in seen:
            break
        seen[key_id(key)] = key
        number += 1
    with pytest.raises(UsageError, match="shares its id"):
        KeyRing([seen[key_id(key)], key])
