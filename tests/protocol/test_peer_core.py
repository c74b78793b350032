"""Do the machines of two and three whole peers, introduced to each other, do what was promised?

The made world carries messages and plays the disks; a liar is played by the test.
"""

from typing import Any

from artifacts import Origin, manifest_of

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import (
    ArtifactShrank,
    CopyConfirmed,
    OriginEquivocated,
    PeerProtocolError,
    PublicationWithdrawn,
    PushRefused,
)
from ringgossip.identity import Address
from ringgossip.protocol.core import (
    Draft,
    Effect,
    LinkId,
    Persist,
    Published,
    Reserve,
    Send,
    SendChunk,
    Tell,
    VerifyRecords,
)
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.protocol.receipts import entry_of
from ringgossip.simulation.world import World
from ringgossip.wire.messages import (
    Certificates,
    GetChunks,
    GetPages,
    Have,
    HaveMore,
    Holding,
    HoldingsList,
    Interest,
    Message,
    News,
    NoChunks,
    OfferAnswered,
    Page,
    Records,
)

MB = 1_000_000


def together(count: int, seed: int = 1) -> World:
    world = World(count, seed=seed, wire="real")
    world.start()
    meshed = world.run_until(lambda: not world.problems() and len(links(world, 0)) == count - 1, 20.0)
    assert meshed is not None
    return world


def core(world: World, index: int) -> PeerCore:
    running = world.nodes[index].core
    assert running is not None
    return running


def links(world: World, index: int) -> list[LinkId]:
    return list(core(world, index).dialing._links)


def hear(world: World, index: int, message: Message) -> list[Effect]:
    """Let peer `index` hear this on its first link, whose other end is a liar."""
    link = links(world, index)[0]
    sender = core(world, index).dialing.peer_of(link)
    assert sender is not None
    return core(world, index).receive(message, sender, link, world.nodes[index].clock())


def published(world: World, index: int, size: int = MB) -> ArtifactKey:
    ticket = world.publish(index, "models", "m", size=size)
    assert world.settle(20.0) is not None, world.problems()
    return world.publications[ticket].key


def told(world: World, index: int, kind: type) -> list[object]:
    return [event for _, event in world.nodes[index].told if isinstance(event, kind)]


def signed_by(world: World, index: int, manifest: Manifest, name: str, **changes: Any) -> Record:
    """Sign as that node does: it lost its key, or its mind."""
    node = world.nodes[index]
    liar = Origin(node.name)
    liar.notary = node.notary
    cluster = core(world, index).catalog.cluster
    return liar.record(manifest, name, "npz", cluster=cluster, **changes)


def bring(world: World, index: int, *messages: Message) -> None:
    """The same as `hear`, with all that follows in the world."""
    for message in messages:
        link = links(world, index)[0]
        sender = core(world, index).dialing.peer_of(link)
        world.nodes[index].give(3, 0, core(world, index).receive, message, sender, link)
        world.run(2.0)


def test_a_publication_becomes_copies_and_every_copy_is_confirmed() -> None:
    world = together(3)
    key = published(world, 0, size=5 * MB)
    world.run(1.0)
    record = core(world, 0).catalog.get(key)
    assert record is not None
    holders = core(world, 0).receipt(key, record).holders
    assert sorted(holders) == [world.nodes[1].name, world.nodes[2].name]
    assert len(told(world, 0, CopyConfirmed)) == 2
    (view,) = core(world, 2).artifacts()
    assert view.complete
    assert len(view.holders) == 3
    assert core(world, 1).transfers() == []


def test_peers_that_agree_walk_no_more() -> None:
    world = together(3)
    published(world, 0)
    world.run(5.0)
    walks = [core(world, index).anti_entropy.walks for index in range(3)]
    world.run(60.0)
    assert [core(world, index).anti_entropy.walks for index in range(3)] == walks


def test_changed_metadata_moves_no_chunk() -> None:
    world = together(2)
    record = core(world, 0).catalog.get(published(world, 0, size=3 * MB))
    assert record is not None
    moved = world.counter("chunk_bytes_received")
    draft = Draft(9, "models", "m", record.size, record.chunk_size, record.root, {"quality": 0.9})
    world.nodes[0].give(3, 0, core(world, 0).publish, draft)
    world.run(1.0)
    assert world.settle(20.0) is not None, world.problems()
    assert world.counter("chunk_bytes_received") == moved
    (view,) = core(world, 1).artifacts()
    assert (view.record.sequence, dict(view.metadata), view.complete) == (2, {"quality": 0.9}, True)


def test_a_version_with_fewer_games_is_kept_beside_its_predecessor() -> None:
    world = together(2)
    world.publish(0, "games", "games.db", metadata={"games_completed": 50})
    assert world.settle(20.0) is not None
    world.publish(0, "games", "games.db", metadata={"games_completed": 3})
    assert world.settle(20.0) is not None, world.problems()
    world.run(10.0)
    assert told(world, 1, ArtifactShrank)
    assert [record.sequence for record in core(world, 1).shelf.versions()] == [1, 2]


def test_two_records_with_one_sequence_end_as_the_same_one_everywhere() -> None:
    world = together(3)
    one, two = (signed_by(world, 0, manifest_of(1, seed), "twin") for seed in ("x", "y"))
    bring(world, 1, News((one.packed,)))
    bring(world, 2, News((two.packed,)))
    world.run(10.0)
    kept = {core(world, index).catalog.get(one.key) for index in range(3)}
    assert kept == {min((one, two), key=lambda record: record.hash)}
    assert told(world, 1, OriginEquivocated) or told(world, 2, OriginEquivocated)


def test_a_record_of_a_huge_file_takes_no_memory() -> None:
    world = together(2)
    huge = signed_by(world, 0, manifest_of(1), "huge", size=(2**32 - 1) * 65536)
    lies = Have(huge.root, 1, 2**32 - 64, b"\xff" * 8), HaveMore(huge.root, (2**32 - 3,))
    bring(world, 1, News((huge.packed,)), *lies)
    (pull,) = core(world, 1).transfer.pulls()
    assert pull.record == huge
    assert pull.needed == pull.copying == len(pull.have) == 0


def test_one_broken_record_is_told_and_the_rest_of_the_message_counts() -> None:
    world = together(2)
    good = signed_by(world, 0, manifest_of(1), "good")
    out = hear(world, 1, Records((b"\xc1", good.packed)))
    assert [type(effect).__name__ for effect in out] == ["VerifyRecords", "Tell"]
    assert isinstance(out[1], Tell)
    assert isinstance(out[1].event, PeerProtocolError)
    assert hear(world, 1, Records((b"\xc1",))) == [], "told once, counted always"
    assert core(world, 1).counters["protocol_errors"] == 2


def test_a_false_certificate_does_not_take_what_waited_for_a_true_one_with_it() -> None:
    world = together(2)
    stranger = Origin("carol", world.authority)
    record = stranger.record(manifest_of(1), cluster=core(world, 1).catalog.cluster)
    bring(world, 1, Records((record.packed,)), Certificates((stranger.notary.certificate.der, b"false")))
    assert core(world, 1).catalog.get(record.key) == record
    assert told(world, 1, PeerProtocolError) != []


def test_what_only_a_link_proves_is_not_believed_of_a_datagram() -> None:
    world = together(2)
    key = published(world, 0)
    record = core(world, 0).catalog.get(key)
    assert record is not None
    sender = core(world, 0).dialing.peers()[0]
    core(world, 0).receipts._empty(core(world, 0).receipts._book(sender))
    entry = record.key.hash + (1).to_bytes(8) + record.root
    for lie in (Holding(entry, b""), HoldingsList(True, True, entry), Interest(record.root, True)):
        core(world, 0).receive(lie, sender, Address("127.0.0.1", 9), world.nodes[0].clock())
    assert core(world, 0).receipt(key, record).holders == ()
    assert core(world, 0).counters["protocol_errors"] == 3


def test_questions_for_what_is_not_there_get_an_answer_and_harm_nothing() -> None:
    world = together(2)
    key = published(world, 0, size=3 * MB)
    record = core(world, 0).catalog.get(key)
    assert record is not None
    nowhere = bytes(32)
    lies: list[Message] = [
        GetChunks(1, nowhere, (0, 2**62)),
        GetChunks(2, record.root, (2**62, 77)),
        GetPages(3, nowhere, (0,), (0,)),
        GetPages(4, record.root, (0, 1), (0,)),
        Page(5, record.root, 0, 0, b"junk"),
        Have(record.root, 1, 2**63 - 8, b"\xff"),
    ]
    out = [effect for lie in lies for effect in hear(world, 0, lie)]
    assert not [effect for effect in out if isinstance(effect, SendChunk | Reserve)]
    said = [effect.message for effect in out if isinstance(effect, Send)]
    refused = [message.request for message in said if isinstance(message, NoChunks)]
    assert refused == [1, 2, 3, 4]


def test_what_our_lost_disk_published_and_comes_while_ours_is_written_down_ends_below_ours() -> None:
    world = together(2)
    ours, now = core(world, 0), world.nodes[0].clock()
    content = manifest_of(2)
    draft = Draft(7, "npz", "m", content.size, content.chunk_size, content.root, {})
    (written,) = [effect.record for effect in ours.publish(draft, now) if isinstance(effect, Persist)]
    lost = signed_by(world, 0, manifest_of(3, "before"), "m", store=b"old-disk", sequence=5)
    (check,) = [e for e in hear(world, 0, Records((lost.packed,))) if isinstance(e, VerifyRecords)]
    ours.records_verified(check.batch, (None,), now)
    out = ours.record_persisted(written, now)
    assert [effect for effect in out if isinstance(effect, Published)] == []
    (above,) = [effect.record for effect in out if isinstance(effect, Persist)]
    assert (above.sequence, above.root) == (6, content.root)
    assert Published(7, above, unchanged=False) in ours.record_persisted(above, now)
    assert ours.catalog.get(above.key) == above


def test_who_refuses_with_another_word_each_time_does_not_flood_the_log() -> None:
    world = together(2)
    record = core(world, 1).catalog.get(published(world, 0))
    assert record is not None
    out: list[Effect] = []
    for number in range(9):
        out += hear(world, 1, OfferAnswered(entry_of(record), f"word {number}"))
    assert len([e for e in out if isinstance(e, Tell) and isinstance(e.event, PushRefused)]) == 1


def test_a_damaged_publication_is_withdrawn_told_and_fetched_back() -> None:
    world = together(2)
    key = published(world, 0)
    record = core(world, 0).catalog.get(key)
    assert record is not None
    out = core(world, 0).copy_lost(record, "the file was changed", world.nodes[0].clock())
    assert Tell(PublicationWithdrawn(key.text, 1, "the file was changed")) in out
    assert Reserve(record) in out
    assert core(world, 0).copy_lost(record, "again", world.nodes[0].clock()) == []


def test_a_fresh_store_may_publish_when_the_credit_of_a_walk_falls_due_though_nothing_is_said_after() -> None:
    world = World(1, seed=3)
    world.start()
    world.run(1.0)
    peer, now = core(world, 0), world.nodes[0].clock()
    assert not peer.authorship.ready
    peer.anti_entropy._credit_at = now + 2.0
    assert peer.next_wakeup() <= now + 2.0
    peer.wake(now + 2.0)
    assert peer.authorship.ready
