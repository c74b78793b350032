"""A `Transfer` whose own disk answers at once, for conversations with holders that the test plays."""

from collections.abc import Iterable
from random import Random
from typing import Any

from artifacts import Origin

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import Record
from ringgossip.identity import Address, PeerId
from ringgossip.protocol.asking import TransferSettings
from ringgossip.protocol.core import (
    Abandon,
    AcceptBody,
    BeginPartial,
    Effect,
    Finalise,
    FindPages,
    LinkId,
    Notice,
    Reserve,
    Send,
)
from ringgossip.protocol.guide import Guide
from ringgossip.protocol.pull import Pull
from ringgossip.protocol.shelf import Shelf
from ringgossip.protocol.transfer import Transfer
from ringgossip.wire.messages import GetChunks, GetPages, Message, Page

LINK_ID = LinkId(1)


ME = PeerId(bytes(16))


class Puller:
    """Gives inputs, performs what concerns the disk, and keeps everything else to be looked at."""

    def __init__(self, seed: int = 1, guide: Guide | None = None, **settings: Any) -> None:
        self.origin = Origin()
        self.now = 0.0
        self.shelf = Shelf()
        self.known: dict[bytes, list[PeerId]] = {}  # root -> who is known to have all
        self.on_disk: dict[bytes, int] = {}  # partial files
        self.manifests: dict[bytes, Manifest] = {}
        self.elsewhere: dict[bytes, int] = {}  # chunks that can be copied
        self.refusal: str | None = None
        self.transfer = Transfer(
            TransferSettings(**settings),
            ME,
            self.shelf,
            Random(seed),
            lambda record: list(self.known.get(record.root, ())),
            lambda record: False,
            lambda peer: peer.hex()[:2],
            self.now,
            guide,
        )
        self.log: list[Effect | Notice] = []
        self.finished: list[Record] = []

    def see(self, out: Iterable[Effect | Notice]) -> list[Effect | Notice]:
        """Perform effects on the disk until there are none; return and keep the others."""
        seen: list[Effect | Notice] = []
        queue = list(out)
        while queue:
            effect = queue.pop(0)
            match effect:
                case Reserve():
                    root = effect.record.root
                    if self.refusal is not None:
                        queue += self.transfer.reserve_refused(root, self.refusal, self.now)
                    else:
                        queue += self.transfer.reserved(root, self.manifests.get(root), self.now)
                case FindPages():
                    queue += self.transfer.pages_found(effect.root, {}, self.now)
                case BeginPartial():
                    root = effect.record.root
                    self.manifests[root] = effect.manifest
                    have = self.on_disk.setdefault(root, 0)
                    copying = self.elsewhere.pop(root, 0) & ~have
                    queue += self.transfer.partial_ready(root, have, copying, self.now)
                    if copying:
                        self.on_disk[root] |= copying
                        queue += self.transfer.chunks_copied(root, copying, 0, self.now)
                case Finalise():
                    self.finished.append(effect.record)
                    self.shelf.add(effect.record)
                    queue += self.transfer.finalised(effect.record, self.now)
                case Abandon() if not effect.keep:
                    self.on_disk.pop(effect.root, None)
                    seen.append(effect)
                case _:
                    seen.append(effect)
        self.log += seen
        return seen

    # --- what happens ---------------------------------------------------------------------

    def link(self, *peers: PeerId) -> None:
        for peer in peers:
            self.see(self.transfer.link_opened(peer, self.now))

    def want(self, record: Record, *holders: PeerId) -> None:
        self.known.setdefault(record.root, []).extend(holders)
        self.see(self.transfer.want(record, self.now))

    def hear(self, peer: PeerId, message: Message) -> list[Effect | Notice]:
        return self.see(self.transfer.receive(message, peer, LINK_ID, self.now))

    def wake(self, now: float) -> list[Effect | Notice]:
        """Let time pass, waking at every deadline; a machine that never rests fails."""
        seen: list[Effect | Notice] = []
        for _ in range(10_000):
            due = self.transfer.next_wakeup()
            if due > now:
                self.now = now
                return seen
            self.now = max(self.now, due)
            seen += self.see(self.transfer.wake(self.now))
        raise AssertionError(f"it wakes again and again at {self.now}")

    def deliver(self, peer: PeerId, request: int, index: int) -> bool:
        """A body comes and is stored if it is accepted."""
        pull = self.pull
        out = self.see(self.transfer.body_arrives(peer, request, index, pull.length(index), self.now))
        if not (out and isinstance(out[0], AcceptBody)):
            return False
        accepted = out[0]
        self.on_disk[pull.root] |= 1 << index
        stored = (peer, request, pull.root, index, accepted.length)
        self.see(self.transfer.chunk_stored(*stored, self.now))
        return True

    def give_pages(self, manifest: Manifest) -> None:
        """Answer every question for pages that was asked until now, and those that follow."""
        while True:
            question = next((s for s in self.sent(GetPages)), None)
            if question is None:
                return
            self.log.remove(question)
            message = question.message
            assert isinstance(message, GetPages)
            assert not isinstance(question.to, Address)
            for level, index in zip(message.levels, message.indices, strict=True):
                page = Page(message.request, message.root, level, index, manifest.page(level, index))
                self.hear(question.to, page)

    # --- looking at it ----------------------------------------------------------------------

    @property
    def pull(self) -> Pull:
        return self.transfer.pulls()[0]

    def sent(self, kind: type[Message]) -> list[Send]:
        sends = [effect for effect in self.log if isinstance(effect, Send)]
        return [send for send in sends if isinstance(send.message, kind)]

    def asked(self) -> list[tuple[PeerId, int, int]]:
        """Every (peer, request, chunk) asked for until now."""
        found = []
        for send in self.sent(GetChunks):
            assert isinstance(send.message, GetChunks)
            for index in send.message.indices:
                found.append((send.to, send.message.request, index))
        return found  # type: ignore[return-value]

    def asked_of(self, peer: PeerId) -> list[int]:
        return [index for other, _, index in self.asked() if other == peer]

    def check(self) -> None:
        """The books agree with each other."""
        total = 0
        for source in self.transfer._sources.values():
            assert source.outstanding == sum(sum(ask.waiting.values()) for ask in source.asks.values())
            assert source.chunks == sum(len(ask.waiting) for ask in source.asks.values())
            total += source.outstanding
        assert total <= self.transfer._settings.in_flight
        for pull in self.transfer.pulls():
            if not pull.proven:
                continue
            waiting: dict[int, int] = {}
            for source in self.transfer._sources.values():
                for ask in source.asks.values():
                    if ask.root == pull.root and not ask.pages:
                        for index in ask.waiting:
                            waiting[index] = waiting.get(index, 0) + 1
            assert waiting == pull.asked
            parts = [pull.have.as_int(), pull.copying, pull.needed, sum(1 << index for index in pull.asked)]
            assert sum(parts) == (1 << pull.count) - 1 == parts[0] | parts[1] | parts[2] | parts[3]


def pulling(manifest: Manifest, *holders: PeerId, **settings: float) -> tuple[Puller, Record]:
    """A puller that has the manifest and asks these holders, which have everything."""
    puller = Puller(1, **settings)
    record = puller.origin.record(manifest)
    puller.manifests[record.root] = manifest
    puller.link(*holders)
    puller.want(record, *holders)
    return puller, record
