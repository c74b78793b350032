"""What does a node's store do when its machines ask? Effects on the disk and their answers.

Every answer takes the time the disk takes, and does not come if the peer
crashes first; what was not finished by then has not happened.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ringgossip.content.manifest import Manifest
from ringgossip.protocol.core import (
    LINK,
    Abandon,
    BeginPartial,
    Drop,
    Effect,
    Evict,
    Finalise,
    FindPages,
    LookAt,
    Persist,
    PersistCertificate,
    PersistSpent,
    Remember,
    Reserve,
    Send,
    SendPages,
    TellPlace,
    VerifyRecords,
)
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.wire.messages import NoChunks, Page, Placed

if TYPE_CHECKING:
    from ringgossip.simulation.node import Node

_VERIFY_SECONDS = 0.00015  # one Ed25519 signature, measured
_READY_SECONDS = 0.0005


def _core(node: "Node") -> PeerCore:
    assert node.core is not None
    return node.core


def _verify_records(node: "Node", effect: VerifyRecords) -> None:
    def answer(now: float) -> list[Effect]:
        reasons = tuple(node.notary.verify_record(record, der) for record, der in effect.records)
        return _core(node).records_verified(effect.batch, reasons, now)

    node.later(_VERIFY_SECONDS * len(effect.records), answer)


def _persist(node: "Node", effect: Persist) -> None:
    record = effect.record
    if record.signer != node.certificate.peer_id:
        node.disk.put_record(record, ours=False)
        node.dirty()
        return

    def answer(now: float) -> list[Effect]:
        if node.disk.trouble is not None:
            return _core(node).persist_failed(record, node.disk.trouble, now)
        node.disk.put_record(record, ours=True)
        return _core(node).record_persisted(record, now)

    node.later(node.disk.times.write + node.disk.times.sync, answer)


def _persist_certificate(node: "Node", effect: PersistCertificate) -> None:
    node.disk.put_certificate(effect.certificate)
    node.dirty()


def _persist_spent(node: "Node", effect: PersistSpent) -> None:
    node.disk.spent = effect.spent


def _remember(node: "Node", effect: Remember) -> None:
    node.disk.put_mark(effect.key, effect.mark, effect.sequence)
    node.dirty()


def _reserve(node: "Node", effect: Reserve) -> None:
    root = effect.record.root

    def answer(now: float) -> list[Effect]:
        refusal = node.disk.reserve(effect.record)
        if refusal is not None:
            return _core(node).reserve_refused(root, refusal, now)
        return _core(node).reserved(root, node.disk.manifests.get(root), now)

    node.later(_READY_SECONDS, answer)


def _find_pages(node: "Node", effect: FindPages) -> None:
    def answer(now: float) -> list[Effect]:
        found: dict[bytes, bytes] = {}
        for manifest in node.disk.manifests.values():
            if manifest.level_count > 1:
                places = manifest.pages_by_hash()
                for _, _, hash_ in effect.pages:
                    if hash_ in places:
                        found[hash_] = manifest.page(*places[hash_])
        return _core(node).pages_found(effect.root, found, now)

    node.later(_READY_SECONDS, answer)


def _begin_partial(node: "Node", effect: BeginPartial) -> None:
    root = effect.record.root

    def ready(now: float) -> list[Effect]:
        have, copying = node.disk.begin(effect.record, effect.manifest)
        if copying:
            times, length = node.disk.times, effect.manifest.chunk_size
            each = times.write + (length / times.bytes_per_second if times.bytes_per_second else 0.0)
            node.later(each * copying.bit_count(), copied, copying)
        return _core(node).partial_ready(root, have, copying, now)

    def copied(copying: int, now: float) -> list[Effect]:
        done, failed = node.disk.copy(root, copying)
        node.dirty()
        return _core(node).chunks_copied(root, done, failed, now)

    node.later(_READY_SECONDS, ready)


def _abandon(node: "Node", effect: Abandon) -> None:
    node.disk.abandon(effect.root, effect.keep)


def _finalise(node: "Node", effect: Finalise) -> None:
    record = effect.record

    def answer(now: float) -> list[Effect]:
        if node.shared.checks is not None:
            node.shared.checks.before_visible(node, record)
        path, reason = node.disk.finalise(record, effect.keep_predecessor)
        if path is None:
            return _core(node).rejected(record, reason, False, now)
        return _core(node).finalised(record, path, now)

    # The file, its folder and the index.
    node.later(3 * node.disk.times.sync, answer)


def _drop(node: "Node", effect: Drop) -> None:
    if node.shared.checks is not None:
        node.shared.checks.before_drop(node, effect.record)
    node.disk.drop(effect.record)


def _evict(node: "Node", effect: Evict) -> None:
    if node.shared.checks is not None:
        node.shared.checks.before_evict(node, effect.record)
    node.disk.drop(effect.record)


def _tell_place(node: "Node", effect: TellPlace) -> None:
    record = effect.record
    held = None if record is None else node.disk.holdings.get((record.key, record.sequence))
    # A shared disk has a folder for each node.
    place = "" if held is None else f"{node.name}/{held.path}"
    answer: list[Effect] = [Send(effect.peer, Placed(effect.entry, place), LINK)]
    node.later(_READY_SECONDS, lambda now: answer)


def _look_at(node: "Node", effect: LookAt) -> None:
    record = effect.record

    def answer(now: float) -> list[Effect]:
        reason = node.shared.look(node, record, effect.place)
        path = None if reason else f"/shared/{effect.place}"
        return _core(node).looked(record, path, reason, now)

    rate = node.disk.times.bytes_per_second
    node.later(_READY_SECONDS + (record.size / rate if rate else 0.0), answer)


def _send_pages(node: "Node", effect: SendPages) -> None:
    node.later(node.disk.times.read * len(effect.pages), _pages_read, node, effect, node.link_to(effect.peer))


def _pages_read(node: "Node", effect: SendPages, end: Any, now: float) -> list[Effect]:
    if end is None or node.link_to(effect.peer) is not end:
        return []
    manifest = node.disk.manifests.get(effect.root)
    pages = [] if manifest is None else _pages(manifest, effect)
    if len(pages) < len(effect.pages):
        refusal = NoChunks(effect.request, effect.root, (), "no such page here")
        return [Send(effect.peer, refusal, LINK)]
    return [Send(effect.peer, page, LINK) for page in pages]


def _pages(manifest: Manifest, effect: SendPages) -> list[Page]:
    pages: list[Page] = []
    for level, index in effect.pages:
        try:
            data = manifest.page(level, index)
        except IndexError:
            return pages
        pages.append(Page(effect.request, effect.root, level, index, data))
    return pages


STORING: dict[type, Callable[["Node", Any], None]] = {
    VerifyRecords: _verify_records,
    Persist: _persist,
    PersistCertificate: _persist_certificate,
    Remember: _remember,
    PersistSpent: _persist_spent,
    Reserve: _reserve,
    FindPages: _find_pages,
    BeginPartial: _begin_partial,
    Abandon: _abandon,
    Finalise: _finalise,
    Drop: _drop,
    Evict: _evict,
    TellPlace: _tell_place,
    LookAt: _look_at,
    SendPages: _send_pages,
}
