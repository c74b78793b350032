"""Would a bug be found? Bugs are planted in machines, one at a time, and a few seeds must show each.

Each is one that production code could have: it stands in a machine, or in what
performs its effects, and is planted here and nowhere else. Beside it stands how
many of the first 1,000 seeds it takes until the first that shows it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ringgossip.content.record import Record
from ringgossip.protocol.anti_entropy import AntiEntropy
from ringgossip.protocol.asking import Asking
from ringgossip.protocol.core import NEVER, Finalise, SendChunk, Tell
from ringgossip.protocol.evidence import Standing
from ringgossip.protocol.myself import Myself
from ringgossip.protocol.peer_core import PeerCore
from ringgossip.protocol.pull import Phase, Pull
from ringgossip.protocol.receipts import Receipts
from ringgossip.protocol.rules import Rules
from ringgossip.protocol.rumors import Rumors
from ringgossip.protocol.serving import Serving
from ringgossip.protocol.sources import Source
from ringgossip.protocol.suspicion import Suspicion
from ringgossip.protocol.troubles import Troubles
from ringgossip.protocol.versions import Versions
from ringgossip.simulation.bodies import Bodies
from ringgossip.simulation.disk import Disk
from ringgossip.simulation.links import Links
from ringgossip.simulation.running import run_story
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.scenario_schema import read_story
from ringgossip.strategy.eligibility import YES

PLAIN = """
story: planted
peers: [{count: 5, role: selfplay, want: all, name: peer}]
copies: 3
workload:
  - publish: {by: all, kind: models, name: best.pth, size: 3 MB, at: 3, every: 6, until: 15, spread: 5}
faults:
  - partition: {at: 5, group: [0, 1], seconds: 8}
  - pause: {at: 6, peer: 3, seconds: 6}
safety: 18
liveness: {within: 40}
promises:
  eventually: {L1: 40, L2: 40, L3: 40, quiet: 40}
"""
LYING = """
peers: [{count: 5, role: selfplay, want: all, name: peer, up: 5 MB/s}]
network: {carrier: pieces}
workload:
  - publish: {by: [0, 1], kind: models, name: best.pth, size: 12 MB, at: 4}
faults:
  - liar: {at: 3, peer: 2, ways: [chunks], seconds: 14}
safety: 18
liveness: {within: 60}
"""
POWER = """
peers: [{count: 3, role: selfplay, want: all, name: peer}]
workload:
  - publish: {by: 0, kind: games, name: selfplay.db, size: 60 KB, at: 3, every: 0.2, until: 12}
faults:
  - crash: {at: 5, peer: 0, seconds: 0.5, machine: true}
  - crash: {at: 8, peer: 0, seconds: 0.5, machine: true}
safety: 13
liveness: {within: 90}
"""
LARGE = """
peers: [{count: 3, role: selfplay, want: all, name: peer}]
workload:
  - publish: {by: 0, kind: models, name: large.pth, size: 200 MB, at: 3}
safety: 8
liveness: {within: 60}
"""
STRANGERS = """
peers:
  - {count: 4, role: selfplay, want: all, name: peer}
  - {count: 1, stranger: true, certified: true}
workload:
  - publish: {by: 0, kind: models, name: best.pth, size: 1 MB, at: 3}
faults:
  - knocking: {at: 4, peer: 1, rate: 60, seconds: 8}
safety: 14
liveness: {within: 30}
"""
ROLES = """
peers:
  - {count: 3, role: selfplay, want: all, name: peer}
  - {name: chief, role: coordinator}
copies: 2
workload:
  - publish: {by: 0, kind: models, name: best.pth, size: 1 MB, at: 3}
safety: 6
liveness: {within: 30}
"""
GONE = """
peers: 8
network: {loss: 0.1}
faults:
  - crash: {at: 5, peer: 3, seconds: 60, machine: true}
  - partition: {at: 6, group: [0, 1], seconds: 20}
safety: 45
liveness: {within: 60}
"""
LOSSY = """
peers: 8
network: {loss: 0.2}
safety: 40
promises: {always: [no_false_death]}
"""
BRIEF = """
peers: 5
safety: 4
liveness: {within: 3}
promises: {eventually: {L2: 3}}
"""
STORIES = {
    "plain": PLAIN, "lying": LYING, "power": POWER, "large": LARGE, "strangers": STRANGERS, "roles": ROLES,
    "gone": GONE, "lossy": LOSSY, "brief": BRIEF,
}  # fmt: skip


def story_of(tmp_path: Path, name: str) -> Story:
    path = tmp_path / f"{name}.yaml"
    path.write_text(STORIES[name])
    return read_story(path)


@pytest.mark.parametrize("name", STORIES)
def test_without_a_bug_nothing_is_found(tmp_path: Path, name: str) -> None:
    story = story_of(tmp_path, name)
    found = [(run.failure, run.crash) for seed in range(4) if not (run := run_story(story, seed)).passed]
    assert found == []


# --- the bugs -----------------------------------------------------------------------------


def _nothing(*_: Any, **__: Any) -> list[Any]:
    return []


def finished_one_chunk_early(patch: pytest.MonkeyPatch) -> None:
    """A pull is taken for whole while its last chunk is still asked for."""

    def complete(pull: Pull) -> bool:
        here = pull.phase is Phase.PULLING and not pull.needed and not pull.copying
        return here and len(pull.asked) <= 1

    patch.setattr(Pull, "complete", property(complete))


def stored_unverified(patch: pytest.MonkeyPatch) -> None:
    """Who writes a chunk does not look at its hash."""
    ends, written = Bodies.ends, Bodies._written
    wrong: dict[tuple[int, bytes, int], bytes] = {}

    def unread(bodies: Bodies, end: Any, peer: Any, body: Any, now: float) -> list[Any]:
        accepted = bodies._accepted.get((peer, body.request, body.index))
        if accepted is not None and accepted.hash != body.hash:
            wrong[bodies._node.index, accepted.root, accepted.index] = body.hash
            body = replace(body, hash=accepted.hash)
        return ends(bodies, end, peer, body, now)

    def kept(bodies: Bodies, peer: Any, accepted: Any, now: float) -> list[Any]:
        out = written(bodies, peer, accepted, now)
        false = wrong.pop((bodies._node.index, accepted.root, accepted.index), None)
        if false is not None:
            bodies._node.disk.damaged[accepted.root, accepted.index] = false
        return out

    patch.setattr(Bodies, "ends", unread)
    patch.setattr(Bodies, "_written", kept)


def newest_dropped(patch: pytest.MonkeyPatch) -> None:
    """Of two versions the wrong one is taken for superseded."""
    supersede = Versions._supersede

    def wrong(versions: Versions, record: Record, now: float) -> None:
        supersede(versions, versions.visible(record.key) or record, now)

    patch.setattr(Versions, "_supersede", wrong)


def replica_over_the_users_file(patch: pytest.MonkeyPatch) -> None:
    """A replica is put where its origin has the file, not into our own folder."""
    finalise = Disk.finalise

    def wrong(disk: Disk, record: Record, keep_predecessor: bool) -> Any:
        disk.user_files[f"/user/{record.name}"] = record.root
        return finalise(disk, record, keep_predecessor)

    patch.setattr(Disk, "finalise", wrong)


def number_told_before_it_is_synced(patch: pytest.MonkeyPatch) -> None:
    """Our own record is written and not synced: after a power cut its number is given out again."""
    put_record = Disk.put_record

    def unsynced(disk: Disk, record: Record, *, ours: bool) -> None:
        disk.lying, before = True, disk.lying
        put_record(disk, record, ours=ours)
        disk.lying = before

    patch.setattr(Disk, "put_record", unsynced)


def wrong_chunk_given(patch: pytest.MonkeyPatch) -> None:
    """The chunk beside the one that was asked for is given."""
    grant = Serving._grant

    def wrong(serving: Serving, now: float) -> list[Any]:
        effects = grant(serving, now)
        return [
            replace(effect, index=effect.index + 1) if isinstance(effect, SendChunk) else effect
            for effect in effects
        ]

    patch.setattr(Serving, "_grant", wrong)


def eligibility_not_asked(patch: pytest.MonkeyPatch) -> None:
    """A coordinator takes what others take: nobody asks whether it may."""
    patch.setattr(Rules, "may_receive", lambda *_: YES)
    patch.setattr(Rules, "wanting", lambda *_: YES)


def budget_ignored(patch: pytest.MonkeyPatch) -> None:
    """Neither the bytes in flight nor the window of a link end the asking."""
    patch.setattr(Asking, "_limit", lambda asking, *_: asking._settings.request_chunks)
    patch.setattr(Source, "window", lambda *_: 2**40)


def copy_not_synced(patch: pytest.MonkeyPatch) -> None:
    """A whole file is renamed and said to be there before it is synced."""
    finalise = Disk.finalise

    def unsynced(disk: Disk, record: Record, keep_predecessor: bool) -> Any:
        disk.lying, before = True, disk.lying
        answer = finalise(disk, record, keep_predecessor)
        disk.lying = before
        return answer

    patch.setattr(Disk, "finalise", unsynced)


def receipt_before_the_rename(patch: pytest.MonkeyPatch) -> None:
    """A copy is announced when its last chunk is written, not when it is visible."""
    chunk_stored = PeerCore.chunk_stored

    def early(core: PeerCore, *arguments: Any) -> list[Any]:
        effects = chunk_stored(core, *arguments)
        for effect in list(effects):
            if isinstance(effect, Finalise):
                core.shelf.add(effect.record)
                effects += core._settle(core.receipts.held(effect.record, arguments[-1]), arguments[-1])
        return effects

    patch.setattr(PeerCore, "chunk_stored", early)


def key_not_asked_on_links(patch: pytest.MonkeyPatch) -> None:
    """A good certificate opens a link, whatever gossip key its owner has: nobody can be left outside."""
    shake = Links._shake

    def trusting(links: Links, source: Any, address: Any, expected: Any, target: int, started: float) -> None:
        accepting: Any = links._sides[target]
        here, there = source.keys, accepting.keys
        source.keys = accepting.keys = [*here, *there]
        shake(links, source, address, expected, target, started)
        source.keys, accepting.keys = here, there

    patch.setattr(Links, "_shake", trusting)


def every_knock_is_told(patch: pytest.MonkeyPatch) -> None:
    """A stranger makes us speak as often as it likes."""
    patch.setattr(Troubles, "tell", lambda troubles, subject, event, now: [Tell(event)])


def nothing_compared_nothing_told(patch: pytest.MonkeyPatch) -> None:
    """Nobody tells news, nobody compares: a catalog stays as it is."""
    patch.setattr(AntiEntropy, "wake", _nothing)
    patch.setattr(AntiEntropy, "heard_root", _nothing)
    patch.setattr(AntiEntropy, "next_wakeup", lambda *_: NEVER)
    patch.setattr(Rumors, "tell", _nothing)


def never_refuted(patch: pytest.MonkeyPatch) -> None:
    """Whoever hears that it is suspected or dead lets it be said."""
    patch.setattr(Myself, "hear", lambda *_: False)


def copies_not_heard(patch: pytest.MonkeyPatch) -> None:
    """What others say of their copies is not listened to."""
    patch.setattr(Receipts, "receive", lambda *_: ([], []))


def last_word_wins(patch: pytest.MonkeyPatch) -> None:
    """Any statement about a member overrides any other."""
    patch.setattr(Standing, "is_overridden_by", lambda *_: True)


def the_dead_come_back(patch: pytest.MonkeyPatch) -> None:
    """Of one incarnation not the gravest word counts, but the last one."""

    def is_overridden_by(standing: Standing, boot: int, incarnation: int, state: int) -> bool:
        here = (standing.card.boot, standing.incarnation)
        return (boot, incarnation) > here or ((boot, incarnation) == here and state != standing.state)

    patch.setattr(Standing, "is_overridden_by", is_overridden_by)


def news_for_ever(patch: pytest.MonkeyPatch) -> None:
    """What everybody knows is told on and on."""
    wake = Rumors.wake

    def endless(rumors: Rumors, now: float) -> list[Any]:
        for rumor in rumors._hot.values():
            rumor.rounds = 0
            rumor.knows.clear()
        return wake(rumors, now)

    patch.setattr(Rumors, "wake", endless)
    patch.setattr(Rumors, "_useless", _nothing)


def no_time_to_refute(patch: pytest.MonkeyPatch) -> None:
    """A suspicion is believed as soon as it is there."""
    patch.setattr(Suspicion, "deadline", property(lambda suspicion: suspicion.started))


def a_table_that_grows(patch: pytest.MonkeyPatch) -> None:
    """Whatever is heard is remembered, in a table that nobody named."""
    receive = PeerCore.receive

    def remembered(core: PeerCore, *heard: Any) -> list[Any]:
        table: list[Any] = vars(core.offering).setdefault("heard", [])
        table += heard
        return receive(core, *heard)

    patch.setattr(PeerCore, "receive", remembered)


@dataclass(frozen=True)
class Bug:
    """A bug, the promises any of which it may break first, and the first seed of its story that shows it."""

    plant: Callable[[pytest.MonkeyPatch], None]
    promises: tuple[str, ...]
    story: str
    seed: int = 0


BUGS = [
    Bug(finished_one_chunk_early, ("S1",), "plain"),
    Bug(stored_unverified, ("S1",), "lying"),
    Bug(newest_dropped, ("S2",), "plain"),
    Bug(replica_over_the_users_file, ("S2",), "plain"),
    Bug(number_told_before_it_is_synced, ("S3",), "power"),
    Bug(wrong_chunk_given, ("S4",), "plain"),
    Bug(eligibility_not_asked, ("S4",), "roles"),
    Bug(budget_ignored, ("S5",), "large"),
    Bug(a_table_that_grows, ("S5",), "plain"),
    Bug(a_table_that_grows, ("S5",), "brief"),
    Bug(copy_not_synced, ("S6",), "plain"),
    Bug(receipt_before_the_rename, ("S6",), "plain"),
    Bug(key_not_asked_on_links, ("S7",), "strangers"),
    Bug(every_knock_is_told, ("S7",), "strangers"),
    Bug(nothing_compared_nothing_told, ("L1",), "plain"),
    Bug(never_refuted, ("L2",), "plain"),
    Bug(copies_not_heard, ("L3",), "plain"),
    Bug(last_word_wins, ("monotone_incarnations", "no_resurrection"), "plain"),
    Bug(the_dead_come_back, ("no_resurrection",), "gone"),
    Bug(news_for_ever, ("quiet",), "plain"),
    Bug(no_time_to_refute, ("no_false_death",), "lossy"),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.plant.__name__)
def test_a_planted_bug_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    story = story_of(tmp_path, bug.story)
    bug.plant(monkeypatch)
    run = run_story(story, bug.seed)
    assert run.failure in bug.promises, (run.failure, run.crash)


def test_a_table_that_grows_is_found_long_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_table_that_grows(monkeypatch)
    [broken] = [each for each in run_story(story_of(tmp_path, "plain"), 0).promises if not each.passed]
    match = re.search(r"is broken at ([0-9.]+) s", broken.detail)
    assert match is not None and float(match[1]) < 18
