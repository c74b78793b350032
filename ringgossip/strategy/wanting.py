"""Does a peer want an artifact? Eligible is not wanted.

A peer wants what it may receive and (a) its role's row names, or (b) it was
chosen to hold because those of (a) are too few copies, or (c) somebody there
asked for. Everybody decides alone, from the same cards, and all come to the
same answer: a weighted rendezvous hash needs no agreement, and when a member
goes only what it held moves.

Copies count where they lie: peers of one storage group are one place, and the
origin's own place is none. In a storage group one live member pulls, the
others show the file where they can read it.

Source: design section 4 ("Wanting"); weighted rendezvous hashing: Schindelhauer,
Schomaker 2005, "Weighted distributed hash tables" (the logarithmic method).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import log

from ringgossip.config.words import KINDS
from ringgossip.frozen import frozen
from ringgossip.identity import PeerId
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.eligibility import No, Verdict, may_receive
from ringgossip.strategy.weights import holder_worth

# What a role pulls although nobody asks; `want:` overrides its row.
ROWS: dict[str, tuple[str, ...]] = {
    "training": KINDS,
    "selfplay": ("models",),
    "coordinator": (),
    "backbone": (),
    "proxy": (),
}

_MASK = 2**64 - 1


@frozen
class Wanted:
    """It is wanted, because of its `why`: `role`, `holder`, `asked`. True as a condition."""

    why: str
    sentence: str

    def __bool__(self) -> bool:
        return True


def row_of(peer: Candidate) -> tuple[str, ...]:
    """Return the kinds that a peer pulls by itself."""
    if peer.want is not None:
        return peer.want
    if peer.role == "coordinator":
        # What a coordinator takes, it takes to keep: nobody would write `receive:` there otherwise.
        return peer.receive or ()
    return KINDS if peer.trains else ROWS.get(peer.role, ())


def _why_taken(peer: Candidate) -> str:
    """Say what makes a peer pull what it pulls by itself, as far as its card tells."""
    # A card states what follows, whatever its `want:` said.
    if peer.want is None or peer.want == row_of(replace(peer, want=None)):
        if "training" in peer.role:
            return "as a training node it takes"
        named = " (one of `priority_nodes`, which count as training nodes)" if peer.trains else ""
        return f"as a {peer.role} node{named} it takes"
    if peer.role == "coordinator":
        return "a coordinator, but its `receive:` or `want:` names"
    return "its `want:` names"


def rendezvous(key: bytes, peer: PeerId, weight: float) -> float:
    """Return the score of `peer` for an artifact; of any set of peers, the highest score is chosen.

    Chances are as the weights. `key` is a hash; so is a peer id: mixing 64 bits
    of each is enough, and forty times quicker than hashing them again. Two
    machines whose logarithms differ in the last bit disagree about one artifact
    in 10^15, and the price is one copy too many.
    """
    return -weight / _draw(key, peer)


@lru_cache(maxsize=4096)  # the same few are asked for again and again: everybody judges every artifact
def _draw(key: bytes, peer: PeerId) -> float:
    """Return the logarithm of what chance says of the two, between 0 and 1."""
    mixed = (int.from_bytes(key[:8]) ^ int.from_bytes(peer[:8])) & _MASK
    # The finisher of splitmix64 (Steele, Lea, Flood 2014), twice: one round leaves traces of equal inputs.
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed = (mixed ^ (mixed >> 31)) + 0x9E3779B97F4A7C15 & _MASK
    return log((mixed + 0.5) / 2**64)


def _one_of(holders: int) -> str:
    return "the one holder" if holders == 1 else f"one of the {holders} holders"


class Census:
    """Who wants artifacts of one kind, among these members. Built anew when a card changes.

    Peers agree as far as they know the same cards and were told the same
    `copies`; where they do not, some copies are too many or too few, and the
    comparison of holdings shows it.

    `members` are those whose copies count: reachable, or silent for so short a
    time that nobody should move data for it.
    """

    def __init__(self, kind: str, members: Iterable[Candidate], copies: int) -> None:
        self.kind = kind
        self.copies = copies
        self._members = {member.peer: member for member in members}
        # In one order everywhere, whatever order the members came in.
        order = sorted(self._members.values(), key=lambda member: member.peer)
        self._by_name = {member.name: member for member in order}
        eligible = [member for member in order if may_receive(member, kind)]
        self._takers = [member for member in eligible if kind in row_of(member)]
        self._taken = {member.place for member in self._takers}
        self._spare = [
            (member, holder_worth(member).value) for member in eligible if member.place not in self._taken
        ]

    def missing(self, origin: str) -> int:
        """Return how many holders must be chosen beside those whose role takes the kind."""
        home = self._by_name.get(origin)
        taken = len(self._taken) - (home is not None and home.place in self._taken)
        return max(0, self.copies - taken)

    def chosen(self, key: bytes, origin: str) -> Sequence[Candidate]:
        """Return the peers chosen to hold the artifact whose key hashes to `key`, the first first."""
        missing = self.missing(origin)
        if not missing:
            return ()
        home = self._by_name.get(origin)
        used = set() if home is None else {home.place}
        ranked = sorted(
            ((rendezvous(key, member.peer, worth), member.peer, member) for member, worth in self._spare),
            reverse=True,
        )
        found: list[Candidate] = []
        for _, _, member in ranked:
            if member.place not in used:
                used.add(member.place)
                found.append(member)
                if len(found) == missing:
                    break
        return found

    def holders(self, key: bytes, origin: str) -> list[Candidate]:
        """Return everybody who should pull the artifact: of those who share a disk one, the origin none."""
        home = self._by_name.get(origin)
        takers = [
            member
            for member in self._takers
            if member.name != origin
            and self._puller(member, key) is member
            and (member.storage_group is None or home is None or member.place != home.place)
        ]
        return [*takers, *self.chosen(key, origin)]

    def wanting(self, me: PeerId, key: bytes, origin: str, asked: bool = False) -> Wanted | Verdict:
        """Return why `me`, one of the members, wants an artifact, or why not. `asked`: by a user there."""
        own = self._members[me]
        verdict = may_receive(own, self.kind)
        if not verdict:
            return verdict
        home = self._by_name.get(origin)
        if own.storage_group is not None and home is not None and home.place == own.place:
            return No("storage_group", f"{own.name} reads the disk of {origin}, where the file lies")
        if asked:
            return Wanted("asked", f"{own.name} was asked for it, by a user there or a peer that offered it")
        if self.kind in row_of(own):
            if (puller := self._puller(own, key)) is not own:
                return No("storage_group", f"{puller.name} pulls it to the disk that {own.name} shares")
            return Wanted("role", f"{own.name}: {_why_taken(own)} {self.kind}")
        missing, holders = self.missing(origin), self.holders(key, origin)
        sharing = next((member for member in holders if member.place == own.place), None)
        if sharing is own:
            worth = holder_worth(own)
            return Wanted(
                "holder",
                f"{own.name} is {_one_of(missing)} chosen because {self.copies} copies are wanted; "
                f"its worth as a holder is {worth}",
            )
        if sharing is not None:
            return No("storage_group", f"{sharing.name} pulls it to the disk that {own.name} shares")
        names = [member.name for member in holders]
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return No(
            "not_wanted",
            f"{own.name} does not take {self.kind} by its role, and {self.copies} copies are wanted: "
            f"{f'{listed} hold them' if names else 'nobody may hold them'}",
        )

    def _puller(self, own: Candidate, key: bytes) -> Candidate:
        """Return who of a storage group pulls: chosen by hash, so that the load is shared."""
        if own.storage_group is None:
            return own
        sharing = [member for member in self._takers if member.place == own.place]
        return max(sharing, key=lambda member: (rendezvous(key, member.peer, 1.0), member.peer))
