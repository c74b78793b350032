"""Where do two digests differ? A walk down two trees, in a few round trips.

Both sides alternate: one sends the hashes of the children of nodes known to
differ, the other compares and sends, for those children that differ, the hashes
one level below; so each level crosses the wire once. Where a sender has few
entries left below a prefix it sends a short id of each instead, and the last
step sends whole (key hash, value hash) pairs, only those the other side lacks.

    opener                                answerer
    HASHES of depth 8           ->
                                <-        HASHES of depth 10 below what differs
    HASHES of depth 12          ->        ... and so on ...
                                <-        IDS of all entries below what differs
    ENTRIES the peer lacks,
    WANTS of ids we lack        ->
                                <-        ENTRIES that were wanted

**Payloads.** Each is a `Payload`, a plain tuple that stands for itself: whoever
answers keeps nothing between two of them, and either set may change meanwhile.
`nodes`, `counts` and `body` together are at most `MAX_PAYLOAD_BYTES`; what does
not fit goes in further payloads, which may be sent and answered in any order.

    (stage, salt, bits, width, nodes, counts, body)    four ints, three bytes

    salt    0..255, drawn by the opener, copied into every answer. A short hash
            is 4 bytes of the whole hash, from byte 16 + salt % 13 on; the short
            id of an entry is the xor of those of its key hash and value hash.
    bits    0..64, even: how many leading bits of a key make a prefix
    nodes   the prefixes, ceil(bits / 8) bytes each, left-aligned, bits beyond
            zero, strictly ascending; no bytes when `bits` is 0: then one node

    stage        width     counts            body
    0 HASHES     2, 4, 8   empty             2**width short hashes a node, of its children
                                             `width` bits below; zeros: nothing there
    1 IDS        0         ids of each node  short ids of all its entries, 4 bytes each
    2 WANTS      0         likewise          short ids, from IDS of the receiver, to send whole
    3 ENTRIES    0         empty             key hash + value hash, 64 bytes each; bits 0

HASHES are answered with HASHES, IDS and ENTRIES; IDS with WANTS and ENTRIES;
WANTS with ENTRIES; ENTRIES with nothing. An answer may be empty. The walk is
over when no payload is left to answer.

**Short hashes.** Four bytes agree falsely once in 2**32 comparisons. Then a
difference stays unseen in this walk only: the roots (8 bytes, on every probe)
still differ, and the next walk looks at other bytes. A member that makes hashes
collide on purpose would have to do so at 13 places at once.

**Bounds.** One payload is answered with at most `max_replies` others and at most
about 8,000 hashes are computed for it; `Walk`, the opener's side, descends into
at most 16,384 nodes of a level and takes at most 16 MiB. What is left out then is
what the next walk finds first, after the entries found by this one were fetched.

**Why these numbers** (n = 1,000,000, d = 100, bound 29,696 bytes): children 4 bits
below cost 64 bytes a level and difference, 2 bits below cost 16 at twice the
messages; with 8-byte hashes 2 bits cost 32. When at most 16 nodes differ, bytes
are cheap and messages are not: then 4 bits. See benchmarks/catalogs.py.
Source: Dynamo (DeCandia et al. 2007), section 4.7; targets.md section 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ringgossip.content.digest import ENTRY_BYTES, MAX_BITS, Digest
from ringgossip.content.hashing import HASH_BYTES
from ringgossip.errors import PeerMisbehaved

HASHES: Final = 0
IDS: Final = 1
WANTS: Final = 2
ENTRIES: Final = 3

MAX_PAYLOAD_BYTES: Final = 32 * 1024  # Answered in some 20 ms, which is what a probe may wait.
MAX_REPLIES: Final = 32
MAX_NODES_PER_LEVEL: Final = 16_384
MAX_WALK_BYTES: Final = 16 * 1024 * 1024

_SHORT: Final = 4
# Keys below one node share their first bits, so a short hash is taken from the second half.
_FIRST_OFFSET: Final = 16
_OFFSETS: Final = HASH_BYTES - _SHORT - _FIRST_OFFSET + 1
_FEW_NODES: Final = 16
_MAX_IDS: Final = 255
_MAX_SEARCHED: Final = 2 * MAX_PAYLOAD_BYTES // _SHORT  # entries, for one payload of wants

Entry = tuple[bytes, bytes]  # key hash, value hash


class Payload(NamedTuple):
    """One piece of a walk; see the top of this module."""

    stage: int
    salt: int
    bits: int
    width: int
    nodes: bytes
    counts: bytes
    body: bytes


@dataclass(slots=True)
class Step:
    """What came of one payload.

    `replies` go back to the peer. `theirs` are entries of the peer that we do
    not have: keys we lack, or have with another value (ours may be the newer).
    `ours` are entries of ours that the peer does not have, likewise.
    """

    replies: list[Payload] = field(default_factory=list)
    theirs: list[Entry] = field(default_factory=list)
    ours: list[Entry] = field(default_factory=list)


class Walk:
    """The opener's side of one walk: counts what it costs and stops at the bounds."""

    __slots__ = ("_bytes_left", "_digest", "_max_nodes", "_nodes")

    def __init__(
        self, digest: Digest, max_nodes: int = MAX_NODES_PER_LEVEL, max_bytes: int = MAX_WALK_BYTES
    ) -> None:
        self._digest = digest
        self._max_nodes = max_nodes
        self._nodes: dict[tuple[int, int], int] = {}
        self._bytes_left = max_bytes

    def open(self, salt: int) -> list[Payload]:
        """Return what to send first; `salt` is fresh for every walk (`rng.getrandbits(8)`)."""
        writer = _Writer(salt % 256, MAX_REPLIES)
        if len(self._digest) <= 16:
            writer.add_ids(self._digest, 0, 0)
        else:
            writer.add_hashes(self._digest, 0, 0, 8 if len(self._digest) > 1024 else 4)
        return writer.finish()

    def receive(self, payload: Payload) -> Step:
        """Take an answer; raises `PeerMisbehaved` as `answer` does."""
        _check(payload)
        self._bytes_left -= len(payload.nodes) + len(payload.counts) + len(payload.body)
        if self._bytes_left < 0:
            return Step()
        step = answer(self._digest, payload)
        step.replies = [reply for reply in step.replies if self._affords(reply)]
        return step

    def _affords(self, reply: Payload) -> bool:
        if reply.stage not in (HASHES, IDS):
            return True
        level = reply.stage, reply.bits
        nodes = self._nodes.get(level, 0) + _node_count(reply)
        if nodes > self._max_nodes:
            return False
        self._nodes[level] = nodes
        return True


def answer(digest: Digest, payload: Payload, max_replies: int = MAX_REPLIES) -> Step:
    """Compare a peer's payload with our set; both sides use it, and it keeps nothing.

    Raises `PeerMisbehaved` when the payload breaks a rule of its form.
    """
    _check(payload)
    writer = _Writer(payload.salt, max_replies)
    step = Step(ours=writer.ours)
    if payload.stage == HASHES:
        _answer_hashes(digest, payload, writer)
    elif payload.stage == IDS:
        _answer_ids(digest, payload, writer)
    elif payload.stage == WANTS:
        _answer_wants(digest, payload, writer)
    else:
        for at in range(0, len(payload.body), ENTRY_BYTES):
            key_hash = payload.body[at : at + HASH_BYTES]
            value_hash = payload.body[at + HASH_BYTES : at + ENTRY_BYTES]
            if digest.get(key_hash) != value_hash:
                step.theirs.append((key_hash, value_hash))
    step.replies = writer.finish()
    return step


def _answer_hashes(digest: Digest, payload: Payload, writer: "_Writer") -> None:
    bits, width, body, offset = payload.bits, payload.width, payload.body, writer.offset
    below = bits + width
    differing = []
    at = 0
    for prefix in _prefixes(payload):
        for child in range(prefix << width, (prefix + 1) << width):
            theirs = body[at : at + _SHORT]
            if digest.hash_at(below, child)[offset : offset + _SHORT] != theirs:
                differing.append((child, theirs))
            at += _SHORT
    few = len(differing) <= _FEW_NODES
    for child, theirs in differing:
        if writer.full:
            return
        if theirs == bytes(_SHORT):
            for entry in digest.entries_at(below, child):
                if not writer.add_entry(entry):
                    return
        elif digest.count_at(below, child) <= (16 if few else 8) or below + 4 > MAX_BITS:
            writer.add_ids(digest, below, child)
        else:
            writer.add_hashes(digest, below, child, 4 if few else 2)


def _answer_ids(digest: Digest, payload: Payload, writer: "_Writer") -> None:
    for prefix, theirs in _ids(payload):
        if writer.full:
            return
        missing = dict.fromkeys(theirs)
        for entry in digest.entries_at(payload.bits, prefix):
            short = _short_id(entry, writer.offset)
            if short in missing:
                del missing[short]
            elif not writer.add_entry(entry):
                return
        if missing:
            writer.add_wants(payload.bits, prefix, list(missing))


def _answer_wants(digest: Digest, payload: Payload, writer: "_Writer") -> None:
    left = _MAX_SEARCHED
    for prefix, wanted in _ids(payload):
        # We only ever offer ids of nodes with few entries; do not search large ones for a stranger,
        # nor more of them than one payload of ids can be about.
        count = digest.count_at(payload.bits, prefix)
        if not wanted or count > _MAX_IDS:
            continue
        left -= count
        if left < 0:
            return
        for entry in digest.entries_at(payload.bits, prefix):
            if _short_id(entry, writer.offset) in wanted and not writer.add_entry(entry):
                return


class _Writer:
    """Collects what is to be sent, in payloads of bounded size, up to a number of them."""

    def __init__(self, salt: int, max_payloads: int) -> None:
        self.offset = _FIRST_OFFSET + salt % _OFFSETS
        self.ours: list[Entry] = []
        self.full = False  # Something was left out.
        self._salt = salt
        self._max_payloads = max_payloads
        self._finished: list[Payload] = []
        self._open: dict[tuple[int, int, int], tuple[bytearray, bytearray, bytearray]] = {}

    def add_hashes(self, digest: Digest, bits: int, prefix: int, width: int) -> None:
        children = range(prefix << width, (prefix + 1) << width)
        end = self.offset + _SHORT
        shorts = b"".join([digest.hash_at(bits + width, child)[self.offset : end] for child in children])
        self._add(HASHES, bits, width, _node(bits, prefix), b"", shorts)

    def add_ids(self, digest: Digest, bits: int, prefix: int) -> None:
        shorts = [_short_id(entry, self.offset) for entry in digest.entries_at(bits, prefix)][:_MAX_IDS]
        self._add(IDS, bits, 0, _node(bits, prefix), bytes((len(shorts),)), b"".join(shorts))

    def add_wants(self, bits: int, prefix: int, shorts: list[bytes]) -> None:
        self._add(WANTS, bits, 0, _node(bits, prefix), bytes((len(shorts),)), b"".join(shorts))

    def add_entry(self, entry: bytes) -> bool:
        """Add a whole entry of ours that the peer lacks; return whether there was room."""
        if not self._add(ENTRIES, 0, 0, b"", b"", entry):
            return False
        self.ours.append((entry[:HASH_BYTES], entry[HASH_BYTES:]))
        return True

    def _add(self, stage: int, bits: int, width: int, node: bytes, count: bytes, body: bytes) -> bool:
        form = stage, bits, width
        parts = self._open.get(form)
        if parts is not None:
            length = sum(map(len, parts)) + len(node) + len(count) + len(body)
            if length > MAX_PAYLOAD_BYTES:
                self._close(form)
                parts = None
        if parts is None:
            if len(self._finished) + len(self._open) >= self._max_payloads:
                self.full = True
                return False
            parts = self._open[form] = bytearray(), bytearray(), bytearray()
        for part, addition in zip(parts, (node, count, body)):
            part += addition
        return True

    def _close(self, form: tuple[int, int, int]) -> None:
        stage, bits, width = form
        nodes, counts, body = self._open.pop(form)
        self._finished.append(
            Payload(stage, self._salt, bits, width, bytes(nodes), bytes(counts), bytes(body))
        )

    def finish(self) -> list[Payload]:
        for form in list(self._open):
            self._close(form)
        return self._finished


def _node(bits: int, prefix: int) -> bytes:
    length = (bits + 7) // 8
    return (prefix << (length * 8 - bits)).to_bytes(length)


def _node_count(payload: Payload) -> int:
    return len(payload.nodes) // ((payload.bits + 7) // 8) if payload.bits else 1


def _prefixes(payload: Payload) -> Iterator[int]:
    """Yield the prefixes of a payload; raise `PeerMisbehaved` where they are not ascending."""
    if payload.bits == 0:
        yield 0
        return
    length = (payload.bits + 7) // 8
    spare = length * 8 - payload.bits
    last = -1
    for at in range(0, len(payload.nodes), length):
        aligned = int.from_bytes(payload.nodes[at : at + length])
        prefix = aligned >> spare
        if prefix << spare != aligned or prefix <= last:
            raise PeerMisbehaved("the prefixes of a walk are not clean and ascending")
        last = prefix
        yield prefix


def _ids(payload: Payload) -> Iterator[tuple[int, list[bytes]]]:
    at = 0
    for prefix, count in zip(_prefixes(payload), payload.counts):
        yield prefix, [payload.body[i : i + _SHORT] for i in range(at, at + count * _SHORT, _SHORT)]
        at += count * _SHORT


def _short_id(entry: bytes, offset: int) -> bytes:
    key = int.from_bytes(entry[offset : offset + _SHORT])
    value = int.from_bytes(entry[HASH_BYTES + offset : HASH_BYTES + offset + _SHORT])
    return (key ^ value).to_bytes(_SHORT)


def _check(payload: Any) -> None:
    """Raise `PeerMisbehaved` unless lengths, types and ranges of a payload fit each other."""
    if not isinstance(payload, tuple) or len(payload) != 7:
        raise PeerMisbehaved("a walk's payload has not seven fields")
    stage, salt, bits, width, nodes, counts, body = payload
    for number, highest in ((stage, ENTRIES), (salt, 255), (bits, MAX_BITS), (width, 8)):
        if type(number) is not int or not 0 <= number <= highest:
            raise PeerMisbehaved("a number in a walk's payload is out of range")
    for part in (nodes, counts, body):
        if type(part) is not bytes:
            raise PeerMisbehaved("a walk's payload has no bytes where it should")
    if len(nodes) + len(counts) + len(body) > MAX_PAYLOAD_BYTES:
        raise PeerMisbehaved("a walk's payload is too long")
    length = (bits + 7) // 8
    if bits % 2 or (len(nodes) % length or not nodes if bits else nodes):
        raise PeerMisbehaved("the prefixes of a walk have no whole length")
    node_count = len(nodes) // length if bits else 1
    if stage == HASHES:
        fits = (
            width in (2, 4, 8)
            and bits + width <= MAX_BITS
            and not counts
            and len(body) == (node_count << width) * _SHORT
        )
    elif stage == ENTRIES:
        fits = bits == 0 and width == 0 and not counts and len(body) % ENTRY_BYTES == 0
    else:
        fits = width == 0 and len(counts) == node_count and len(body) == sum(counts) * _SHORT
    if not fits:
        raise PeerMisbehaved("the parts of a walk's payload do not fit each other")
