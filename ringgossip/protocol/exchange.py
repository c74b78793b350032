"""Where do two lists of members differ? Pages of states there, what the other lacks back.

A page says all that the sender knows of a range of keys, so each page is answered
by itself: with what we know better, and with a wish for the cards we lack. It
takes O(members), and is for those whose digests differ.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ringgossip.protocol.evidence import DEAD, UPDATE_BYTES, Standing, Update, read_updates
from ringgossip.protocol.roster import Roster
from ringgossip.wire.messages import MAX_DATAGRAM_PLAINTEXT, Cards, MembersPage

LOWEST = bytes(8)
HIGHEST = b"\xff" * 8

_PAGE_ENTRIES = (MAX_DATAGRAM_PLAINTEXT - 32) // UPDATE_BYTES
DATAGRAM_ROOM = MAX_DATAGRAM_PLAINTEXT - 16
LINK_ROOM = 60_000
_MAX_CARDS = 100


@dataclass(slots=True)
class Difference:
    """What a page shows. Keys and standings, in the order of keys."""

    better: list[tuple[Standing, bool, bool]] = field(default_factory=list)  # send its card, its certificate
    wanted: list[bytes] = field(default_factory=list)
    strangers: list[bytes] = field(default_factory=list)
    heard: list[Update] = field(default_factory=list)


def pages(roster: Roster, whole: bool) -> list[MembersPage]:
    """Return our list, as one page for a link or as pages of one datagram."""
    entries = [(key, standing.list_entry()) for key, standing in roster.list_entries(LOWEST, HIGHEST).items()]
    if whole:
        return [MembersPage(LOWEST, HIGHEST, b"".join(entry for _, entry in entries))]
    found = []
    low = LOWEST
    for start in range(0, len(entries), _PAGE_ENTRIES):
        part = entries[start : start + _PAGE_ENTRIES]
        last = start + _PAGE_ENTRIES >= len(entries)
        high = HIGHEST if last else part[-1][0]
        found.append(MembersPage(low, high, b"".join(entry for _, entry in part)))
        low = (int.from_bytes(high, "big") + 1).to_bytes(8, "big") if not last else low
    return found


def compare(page: MembersPage, roster: Roster) -> Difference:
    """Find what the sender of a page lacks, and what we lack."""
    found = Difference()
    ours = roster.list_entries(page.low, page.high)
    for update in read_updates(page.states):
        key, boot, incarnation, state, tail = update
        version = int.from_bytes(tail, "big")
        mine = ours.pop(key, None)
        if mine is None:
            if key not in roster.table and state < DEAD:
                found.strangers.append(key)
            continue
        card = mine.card
        older_card = (boot, version) < (card.boot, card.version)
        if (boot, version) > (card.boot, card.version):
            found.wanted.append(key)
        if (card.boot, mine.incarnation, mine.state) > (boot, incarnation, state):
            found.better.append((mine, older_card, False))
            continue
        if older_card:
            found.better.append((mine, True, False))
        found.heard.append(update)
    found.better += [(mine, True, True) for mine in ours.values()]
    return found


def pack_cards(found: Iterable[tuple[Standing, bytes, bytes]], room: int) -> Iterator[Cards]:
    """Put standings, each with a card and a certificate or `b""`, into messages of at most `room` bytes.

    A state travels with its card, so that a dead stranger is never taken for a live one.
    """
    cards: list[bytes] = []
    certificates: list[bytes] = []
    states: list[bytes] = []
    left = room
    for standing, card, certificate in found:
        size = UPDATE_BYTES + len(card) + 3 + len(certificate) + 3
        if certificate and size > room:
            yield Cards((), (certificate,), b"")
            size, certificate = size - len(certificate), b""
        if size > left or len(states) >= _MAX_CARDS:
            yield Cards(tuple(cards), tuple(certificates), b"".join(states))
            cards, certificates, states, left = [], [], [], room
        left -= size
        states.append(standing.list_entry())
        if card:
            cards.append(card)
        if certificate:
            certificates.append(certificate)
    if states:
        yield Cards(tuple(cards), tuple(certificates), b"".join(states))
