"""One machine, spoken to: what does it answer, and when?"""

import itertools
from typing import Any

import pytest
from member_network import Lab, MemberNetwork, card_of, certificate, pulse_of, update_of

from ringgossip.errors import UsageError
from ringgossip.events import (
    ClonedIdentity,
    DatagramsBlocked,
    NameTakenOver,
    PeerJoined,
    PeerLeft,
    PeerLost,
    PeerRecovered,
    PeerRestarted,
    PeerSuspected,
)
from ringgossip.identity import Address
from ringgossip.protocol.cards import MemberFacts, read_card
from ringgossip.protocol.core import (
    DATAGRAM,
    LINK,
    NEVER,
    Dial,
    MemberDown,
    MemberUp,
    NeedLink,
    PulseHeard,
    Send,
    Stop,
    Tell,
)
from ringgossip.protocol.evidence import ALIVE, DEAD, LEFT, MAX_INCARNATION, SUSPECT, read_updates
from ringgossip.protocol.exchange import pages
from ringgossip.protocol.joining import SeedSettings
from ringgossip.protocol.membership import MembershipSettings
from ringgossip.protocol.settings import GossipSettings
from ringgossip.protocol.voice import PULSE
from ringgossip.wire.messages import (
    Ack,
    Cards,
    CardsWanted,
    Gossip,
    MembersPage,
    Message,
    Nack,
    Ping,
    PingRequest,
    Vouch,
)

QUIET = MembershipSettings(gossip=GossipSettings(fanout=0))


def messages(out: list[Any], kind: type[Message]) -> list[Any]:
    return [item.message for item in out if isinstance(item, Send) and isinstance(item.message, kind)]


def told(out: list[Any]) -> list[Any]:
    return [item.event for item in out if isinstance(item, Tell)]


def first_ping(lab: Lab, until: float = 1.01) -> tuple[float, Send]:
    return next((at, e) for at, e in lab.run(until) if isinstance(e, Send) and isinstance(e.message, Ping))


# --- pings --------------------------------------------------------------------------------


def test_a_ping_is_answered_where_it_came_from_with_what_we_say_of_ourselves() -> None:
    lab = Lab("bob")
    bob = lab.cards["bob"]
    digest = int.from_bytes(lab.machine.state_digest, "big")
    ping = Ping(3, lab.card.key, pulse_of(bob, digest=digest), b"")
    [answer] = lab.hear(ping, bob, 0.9, source=Address("bob.example", 7946))
    assert (answer.to, answer.lane, answer.message.number) == (Address("bob.example", 7946), DATAGRAM, 3)
    assert PULSE.unpack(answer.message.pulse) == (1000, 0, 1, digest, bytes(8))
    [answer] = lab.hear(ping, bob, 0.9, source=5)
    assert (answer.to, answer.lane) == (bob.peer, LINK)


def test_a_ping_for_whoever_had_our_address_before_is_not_answered() -> None:
    lab = Lab("bob")
    assert lab.hear(Ping(3, b"somebody", pulse_of(lab.cards["bob"]), b""), lab.cards["bob"], 0.1) == []


def test_the_root_of_the_catalog_rides_on_pings_and_answers() -> None:
    lab = Lab("bob")
    bob = lab.cards["bob"]
    lab.machine.set_catalog_root(b"our root" + bytes(24))
    out = lab.hear(Ping(3, lab.card.key, pulse_of(bob, root=b"his root"), b""), bob, 0.1)
    assert PulseHeard(bob.peer, b"his root") in out
    assert PULSE.unpack(messages(out, Ack)[0].pulse)[4] == b"our root"


def test_a_stranger_who_pings_is_answered_and_asked_who_it_is() -> None:
    lab = Lab()
    out = lab.hear(Ping(3, lab.card.key, pulse_of(card_of("dave")), b""), card_of("dave"), 0.1)
    assert messages(out, CardsWanted) == [CardsWanted(b"", card_of("dave").key)]
    assert len(messages(out, Ack)) == 1


def test_a_silent_member_is_probed_by_link_and_through_others_before_it_is_suspected() -> None:
    lab = Lab("bob", "carol", "dave", "erin", settings=QUIET)
    at, ping = first_ping(lab)
    target = next(card for card in lab.cards.values() if card.facts.addresses[0] == ping.to)
    history = lab.run(at + 0.99)
    asked = [(when, e) for when, e in history if isinstance(e, Send) and isinstance(e.message, PingRequest)]
    assert [when - at for when, _ in asked] == pytest.approx([0.5] * 3)
    assert all(e.message.target == target.key and e.to != ping.to for _, e in asked)
    assert NeedLink(target.peer) in [e for _, e in history]
    assert told([e for _, e in history]) == []
    assert told([e for _, e in lab.run(at + 1.01)]) == [PeerSuspected(target.name)]


def test_the_one_who_is_suspected_hears_of_it_first() -> None:
    lab = Lab("bob", settings=QUIET)
    first_ping(lab)
    out = [e for _, e in lab.run(2.1)]
    accusations = [m for m in messages(out, Gossip) if read_updates(m.updates)[0][3] == SUSPECT]
    assert accusations
    pings = [m for m in messages(out, Ping) if m.updates]
    assert read_updates(pings[-1].updates)[0][:4] == (lab.cards["bob"].key, 1000, 0, SUSPECT)


@pytest.mark.parametrize("how", ["ack", "vouch"])
def test_an_answer_saves_a_member_from_suspicion(how: str) -> None:
    lab = Lab("bob", "carol", settings=QUIET)
    at, ping = first_ping(lab)
    target = next(card for card in lab.cards.values() if card.facts.addresses[0] == ping.to)
    other = next(card for card in lab.cards.values() if card is not target)
    lab.run(at + 0.6)
    if how == "ack":
        lab.hear(Ack(ping.message.number, pulse_of(target), b""), target, at + 0.7)
    else:
        lab.hear(Vouch(ping.message.number, pulse_of(target)), other, at + 0.7)
    lab.run(at + 1.01)
    assert lab.state(target.name) == "alive"
    assert lab.machine.health == 0


def test_who_is_asked_to_probe_says_not_yet_at_80_percent_of_the_timeout() -> None:
    lab = Lab("bob", "carol")
    bob, carol = lab.cards["bob"], lab.cards["carol"]
    out = lab.hear(PingRequest(77, carol.key), bob, 0.01)
    [ping] = messages(out, Ping)
    nacks = [(at, e) for at, e in lab.run(0.5) if isinstance(e, Send) and isinstance(e.message, Nack)]
    assert nacks == [(pytest.approx(0.41), Send(bob.facts.addresses[0], Nack(77), DATAGRAM))]
    late = lab.hear(Ack(ping.number, pulse_of(carol, 4), b""), carol, 0.6)
    assert [PULSE.unpack(m.pulse)[1] for m in messages(late, Vouch)] == [4]


def test_missing_nacks_lower_our_own_health_and_slow_us_down() -> None:
    lab = Lab("bob", "carol", "dave", "erin", settings=QUIET)
    at, _ = first_ping(lab)
    lab.run(at + 1.01)
    assert lab.machine.health == 3
    pings = [when for when, e in lab.run(at + 12) if isinstance(e, Send) and isinstance(e.message, Ping)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(pings) if later - earlier > 0.01]
    assert max(gaps) >= 2.0


def test_nacks_say_that_it_is_not_us() -> None:
    lab = Lab("bob", "carol", "dave", "erin", settings=QUIET)
    at, ping = first_ping(lab)
    for effect in [e for _, e in lab.run(at + 0.6)]:
        if isinstance(effect, Send) and isinstance(effect.message, PingRequest):
            helper = next(card for card in lab.cards.values() if card.facts.addresses[0] == effect.to)
            lab.hear(Nack(ping.message.number), helper, at + 0.9)
    lab.run(at + 1.01)
    assert lab.machine.health == 0


def test_after_a_long_sleep_nobody_is_blamed_for_silence() -> None:
    lab = Lab("bob", settings=QUIET)
    at, _ = first_ping(lab)
    assert told(lab.machine.wake(at + 30.0)) == []
    assert lab.state("bob") == "alive"


def test_a_member_at_a_new_address_is_answered_and_probed_there() -> None:
    lab = Lab("bob", settings=QUIET)
    elsewhere = Address("198.51.100.9", 4242)
    lab.hear(Ping(3, lab.card.key, pulse_of(lab.cards["bob"]), b""), lab.cards["bob"], 0.1, source=elsewhere)
    assert lab.machine.addresses(lab.cards["bob"].peer) == [elsewhere, Address("bob.example", 7946)]
    assert first_ping(lab)[1].to == elsewhere


def test_where_datagrams_are_blocked_the_link_is_used_and_it_is_told_once() -> None:
    lab = Lab("bob", settings=QUIET)
    bob = lab.cards["bob"]
    lab.machine.link_opened(bob.peer, bob.facts.addresses[0], 0.0)
    events, at = [], 0.0
    while at < 20.0:
        at = lab.machine.next_wakeup()
        out = lab.machine.wake(at)
        for effect in out:
            if isinstance(effect, Send) and effect.lane is LINK and isinstance(effect.message, Ping):
                events += told(lab.hear(Ack(effect.message.number, pulse_of(bob), b""), bob, at, source=5))
        events += told(out)
    assert events == [DatagramsBlocked("bob")]


def test_a_link_that_breaks_makes_us_look_at_once() -> None:
    lab = Lab("bob", "carol", settings=QUIET)
    at, ping = first_ping(lab)
    target = next(card for card in lab.cards.values() if card.facts.addresses[0] == ping.to)
    lab.hear(Ack(ping.message.number, pulse_of(target), b""), target, at + 0.01)
    lab.machine.link_broken(target.peer, at + 0.3)
    when, again = first_ping(lab, at + 0.31)
    assert (again.to, when) == (ping.to, pytest.approx(at + 0.3))


# --- beliefs --------------------------------------------------------------------------------


def test_a_member_comes_is_doubted_recovers_leaves_and_comes_back() -> None:
    lab = Lab("bob")
    carol = card_of("carol")
    assert lab.meet(carol, 1.0) == [
        Tell(PeerJoined("carol", "carol.example:7946")),
        MemberUp(carol.peer, 1000),
    ]
    assert told(lab.gossip(update_of(carol, 0, SUSPECT), now=2.0)) == [PeerSuspected("carol")]
    assert told(lab.gossip(update_of(carol, 1, ALIVE), now=2.1)) == [PeerRecovered("carol")]
    out = lab.gossip(update_of(carol, 1, LEFT), now=3.0)
    assert (told(out), MemberDown(carol.peer, left=True) in out) == ([PeerLeft("carol")], True)
    again = card_of("carol", boot=1001, nonce=b"another.")
    out = lab.meet(again, 4.0)
    assert out == [Tell(PeerRestarted("carol", "carol.example:7946")), MemberUp(carol.peer, 1001)]


def test_a_suspect_that_is_silent_is_dead_after_its_time_and_not_before() -> None:
    lab = Lab("bob", "carol", "dave", "erin", "fred", settings=QUIET)
    lab.gossip(update_of(lab.cards["carol"], 0, SUSPECT, b"one."), now=0.001)
    for accuser in (b"two.", b"tre.", b"for."):
        lab.gossip(update_of(lab.cards["carol"], 0, SUSPECT, accuser), now=0.002)
    history = lab.run(4.2)
    lost = [(at, e.event) for at, e in history if isinstance(e, Tell) and isinstance(e.event, PeerLost)]
    assert lost[0] == (pytest.approx(4.001), PeerLost("carol"))


def test_a_patient_member_is_not_declared_dead_earlier_than_it_asked_for() -> None:
    lab = Lab("bob", settings=QUIET)
    lab.meet(card_of("carol", patience=15.0), 0.0)
    lab.gossip(update_of(lab.cards["carol"], 0, SUSPECT), now=0.001)
    history = lab.run(15.9)
    assert lab.state("carol") == "suspect"
    warnings = [at for at, e in history if messages([e], Gossip) and e.to == Address("carol.example", 7946)]
    assert warnings[-1] == pytest.approx(15.0, abs=0.01)
    lab.run(16.1)
    assert lab.state("carol") == "dead"


def test_a_boot_number_by_hearsay_is_not_believed_but_asked_for() -> None:
    lab = Lab("bob", "carol")
    carol = lab.cards["carol"]
    out = lab.gossip(update_of(carol, 0, DEAD, boot=2**63), now=1.0)
    assert lab.state("carol") == "alive"
    assert messages(out, CardsWanted) == [CardsWanted(carol.key, b"")]
    assert lab.gossip(update_of(carol, 0, DEAD, boot=999), now=1.1) == []
    assert lab.state("carol") == "alive"


def test_a_boot_number_in_a_list_is_not_believed_either() -> None:
    lab = Lab("bob", "carol")
    carol = lab.cards["carol"]
    for boot in (2**63, 999):
        entry = update_of(carol, 5, LEFT, bytes(4), boot=boot)
        lab.hear(Cards((), (), entry), lab.cards["bob"], 1.0, source=5)
        lab.hear(MembersPage(carol.key, carol.key, entry), lab.cards["bob"], 1.0, source=5)
    assert lab.state("carol") == "alive"


def test_an_older_card_does_not_bring_back_an_older_life() -> None:
    lab = Lab("bob")
    lab.meet(card_of("carol", boot=2000, nonce=b"new life"), 1.0)
    assert lab.meet(card_of("carol", boot=1999, version=9), 2.0) == []
    member = lab.machine.member(lab.cards["carol"].peer)
    assert member is not None and member.boot == 2000


def test_who_accuses_us_hears_our_refutation_at_once() -> None:
    lab = Lab("bob")
    out = lab.gossip(update_of(lab.card, 0, SUSPECT), now=1.0)
    [answer] = messages(out, Gossip)
    assert read_updates(answer.updates)[0][:4] == (lab.card.key, 1000, 1, ALIVE)
    assert lab.machine.health == 1
    [again] = messages(lab.gossip(update_of(lab.card, 0, DEAD), now=1.1), Gossip)
    assert again == answer
    assert lab.machine.health == 1


def test_when_the_incarnations_run_out_the_boot_takes_the_carry() -> None:
    lab = Lab("bob")
    lab.gossip(update_of(lab.card, MAX_INCARNATION, DEAD), now=1.0)
    assert (lab.card.boot, lab.card.version) == (1001, 2)
    member = lab.machine.member(lab.machine.me)
    assert member is not None and (member.state, member.incarnation) == ("alive", 0)
    other = Lab("bob")
    other.meet(card_of("alice2"), 0.5)
    bumped = card_of("carol", boot=1001, version=2)
    other.meet(card_of("carol"), 1.0)
    assert told(other.meet(bumped, 2.0)) == []


def test_who_is_held_dead_is_told_so_when_it_speaks() -> None:
    lab = Lab("bob", "carol")
    carol = lab.cards["carol"]
    lab.gossip(update_of(carol, 0, SUSPECT), now=0.0)
    lab.gossip(update_of(carol, 0, DEAD), now=1.0)
    [ack] = messages(lab.hear(Ping(3, lab.card.key, pulse_of(carol), b""), carol, 2.0), Ack)
    assert read_updates(ack.updates)[0][:4] == (carol.key, 1000, 0, DEAD)
    out = lab.hear(Ping(4, lab.card.key, pulse_of(carol, 1), b""), carol, 2.1)
    assert told(out) == [PeerRecovered("carol")]


def test_whoever_we_hold_alive_is_not_dead_because_somebody_says_so() -> None:
    """He may have been on the other side of a partition; the accused hears of it, and says otherwise."""
    lab = Lab("bob", "carol")
    carol = lab.cards["carol"]
    out = lab.gossip(update_of(carol, 0, DEAD), now=1.0)
    assert told(out) == [PeerSuspected("carol")]
    [warning] = messages(out, Gossip)
    assert read_updates(warning.updates)[0][:4] == (carol.key, 1000, 0, SUSPECT)
    assert told(lab.gossip(update_of(carol, 0, DEAD), now=1.01)) == [], "said twice it is no truer"
    assert told(lab.gossip(update_of(carol, 1, ALIVE), now=1.1)) == [PeerRecovered("carol")]
    assert told(lab.gossip(update_of(carol, 1, SUSPECT), update_of(carol, 1, DEAD), now=2.0)) == [
        PeerSuspected("carol")
    ]
    lab.run(2.9)
    assert told(lab.gossip(update_of(carol, 1, DEAD), now=3.0)) == [PeerLost("carol")]


def test_who_was_away_believes_no_death_that_had_waited_for_it_and_gives_suspects_time_to_answer() -> None:
    lab = Lab("bob", "carol", "dave")
    carol, dave = lab.cards["carol"], lab.cards["dave"]
    lab.gossip(update_of(carol, 0, SUSPECT), update_of(dave, 0, SUSPECT), now=0.5)
    lab.run(3.5)
    # Their time would have been over long ago; and a world may read the socket before it wakes us.
    assert told(lab.gossip(update_of(carol, 0, DEAD), now=40.0)) == []
    lab.machine.wake(40.0)
    assert told(lab.gossip(update_of(carol, 0, DEAD), now=40.1)) == [], "said while we were away"
    assert lab.state("carol") == lab.state("dave") == "suspect"
    assert told(lab.gossip(update_of(carol, 1, ALIVE), now=40.4)) == [PeerRecovered("carol")]
    assert told(lab.gossip(update_of(dave, 0, DEAD), now=41.6)) == [PeerLost("dave")]


def test_a_suspect_whose_time_was_all_but_over_gets_an_interval_when_we_come_back() -> None:
    lab = Lab("bob", settings=QUIET)
    lab.gossip(update_of(lab.cards["bob"], 0, SUSPECT), now=0.001)
    died = next(at for at, e in lab.run(60.0) if told([e]) == [PeerLost("bob")])
    lab = Lab("bob", settings=QUIET)
    lab.gossip(update_of(lab.cards["bob"], 0, SUSPECT), now=0.001)
    lab.run(died - 0.02)
    back = died + 30.0
    assert told(lab.machine.wake(back)) == []
    [again] = [at for at, e in lab.run(back + 60.0) if told([e]) == [PeerLost("bob")]]
    assert back + 1.0 <= again < back + 3.0


def test_the_dead_are_visited_at_a_bounded_rate_and_told_what_is_said_of_them() -> None:
    lab = Lab("bob", settings=QUIET)
    bob = lab.cards["bob"]
    lab.gossip(update_of(bob, 0, SUSPECT), now=0.001)
    lab.gossip(update_of(bob, 0, DEAD), now=1.001)
    visits = [(at, e) for at, e in lab.run(60.0) if isinstance(e, Send) and isinstance(e.message, Ping)]
    assert 22 <= len(visits) <= 40
    assert all(read_updates(visit.message.updates)[0][3] == DEAD for _, visit in visits)


def test_tombstones_stay_for_a_day() -> None:
    lab = Lab("bob", "carol", settings=QUIET)
    lab.gossip(update_of(lab.cards["carol"], 0, LEFT), update_of(lab.cards["bob"], 0, LEFT), now=10.0)
    lab.run(86_400.0)
    assert lab.state("carol") == "left"
    lab.run(86_411.0)
    assert lab.state("carol") == "unknown"


# --- names and clones ---------------------------------------------------------------------------


def test_of_two_certificates_with_one_name_the_higher_generation_wins_at_once() -> None:
    lab = Lab("bob")
    old, new = card_of("carol"), card_of("carol", generation=2)
    lab.meet(old, 1.0)
    out = lab.meet(new, 2.0, generation=2)
    assert NameTakenOver("carol", 2) in told(out)
    assert MemberDown(old.peer, left=True) in out
    assert lab.machine.peer_named("carol") == new.peer
    lab.gossip(update_of(old, 5, ALIVE), now=3.0)
    member = lab.machine.member(old.peer)
    assert member is not None and member.state == "left"
    late = Lab("bob")
    late.meet(new, 1.0, generation=2)
    late.meet(old, 2.0)
    for machine in (lab.machine, late.machine):
        assert [member.peer for member in machine.members() if member.name == "carol"] == [new.peer]
    assert late.machine.peer_named("carol") == new.peer
    assert late.machine.state_digest == lab.machine.state_digest


def test_who_loses_its_name_stops() -> None:
    lab = Lab("bob")
    out = lab.meet(card_of("alice", generation=2), 1.0, generation=2)
    [stop] = [item for item in out if isinstance(item, Stop)]
    assert "generation 2" in stop.reason
    assert lab.machine.next_wakeup() == NEVER


def test_a_clone_that_answers_at_its_address_stops_the_older() -> None:
    lab = Lab("bob")
    clone = card_of("alice", boot=1005, nonce=b"clone...")
    where = clone.facts.addresses[0]
    out = lab.hear(Gossip(b"", (clone.packed,), ()), lab.cards["bob"], 1.0)
    [challenge] = messages(out, Ping)
    out = lab.hear(Ack(challenge.number, pulse_of(clone), b""), clone, 1.1, source=where)
    assert told(out) == [ClonedIdentity(str(where))]
    [stop] = [item for item in out if isinstance(item, Stop)]
    assert str(where) in stop.reason and "\n" not in stop.reason
    assert lab.machine.next_wakeup() == NEVER


def test_a_clone_met_on_a_link_stops_the_older_at_once_and_not_the_newer() -> None:
    lab = Lab("bob")
    newer = card_of("alice", boot=1005, nonce=b"clone...")
    older = card_of("alice", boot=995, nonce=b"clone...")
    assert lab.machine.card_heard(older.packed, lab.machine.me, 1.0) == []
    out = lab.machine.card_heard(newer.packed, lab.machine.me, 2.0)
    assert any(isinstance(item, Stop) for item in out)


def test_our_own_former_life_is_outbid_once_and_whoever_outbids_back_is_a_clone() -> None:
    lab = Lab("bob", settings=QUIET)
    former = card_of("alice", boot=5000, nonce=b"former..")
    lab.hear(Gossip(b"", (former.packed,), ()), lab.cards["bob"], 1.0)
    lab.run(2.1)
    assert lab.card.boot == 5001
    clone = card_of("alice", boot=5002, nonce=b"former..")
    out = lab.hear(Gossip(b"", (clone.packed,), ()), lab.cards["bob"], 3.0)
    assert any(isinstance(item, Stop) for item in out)


def test_a_forged_clone_stops_nobody() -> None:
    lab = Lab("bob")
    clone = card_of("alice", boot=1005, nonce=b"clone...")
    forged = bytes(64) + clone.packed[64:]
    assert lab.hear(Gossip(b"", (forged,), ()), lab.cards["bob"], 1.0) == []
    assert lab.machine.card_heard(forged, lab.machine.me, 1.0) == []


# --- joining, lists, leaving -----------------------------------------------------------------------


def test_seeds_are_dialled_and_tried_again_within_a_second_but_never_ourselves() -> None:
    from random import Random

    from member_network import CLUSTER, FreeNotary

    from ringgossip.protocol.membership import Membership

    own, seed = Address("alice.example", 7946), Address("seed.example", 7946)
    machine = Membership(
        CLUSTER, FreeNotary(certificate("alice")), MemberFacts((own,)), (own, seed), 1000, b"alice...",
        MembershipSettings(), Random(1), lambda peer: None,
    )  # fmt: skip
    dial, knock = machine.start(0.0)
    assert dial == Dial(seed, None)
    assert isinstance(knock, Send) and knock.to == seed and knock.lane is DATAGRAM
    assert isinstance(knock.message, MembersPage)
    gaps, now = [], 0.1
    for _ in range(12):
        machine.dial_failed(seed, None, now)
        failed = now
        while True:
            now = machine.next_wakeup()
            if Dial(seed, None) in machine.wake(now):
                break
        gaps.append(now - failed)
    assert gaps[0] < 1.0
    assert max(gaps) <= 15.0 * 1.3
    assert gaps[-1] > 9.0


def test_a_seed_that_is_known_or_is_ourselves_is_dialled_no_more() -> None:
    net = MemberNetwork()
    alice, bob = net.add(), net.add()
    net.start(bob)
    ours = Address("also.alice.example", 1)
    bob.machine._seeds = type(bob.machine._seeds)((ours, alice.address), SeedSettings(), net.rng)
    bob.machine._seeds.start(0.0)
    assert bob.machine._seeds_due(0.0)[:2] == [Dial(ours, None), Dial(alice.address, None)]
    assert bob.machine.seed_answered(ours, bob.machine.me)
    bob.certificates[alice.peer] = alice.certificate
    bob.machine.card_heard(alice.machine.own_card, alice.peer, 1.0)
    assert bob.machine._seeds_due(10.0) == []
    assert bob.machine._seeds.next_wakeup() == NEVER


def test_who_joins_shows_its_list_and_gets_what_it_lacks() -> None:
    seed, joiner = Lab("bob", "carol"), card_of("dave")
    carol = seed.cards["carol"]
    seed.gossip(update_of(carol, 2, SUSPECT), now=-0.5)
    seed.gossip(update_of(carol, 2, DEAD), now=0.5)
    seed.meet(joiner, 1.0)
    page = MembersPage(bytes(8), b"\xff" * 8, b"")
    [cards] = messages(seed.hear(page, joiner, 1.1, source=5), Cards)
    assert len(cards.cards) == len(cards.states) // 25 == 4
    late = Lab()
    late.certificates.update({card.peer: certificate(card.name) for card in seed.cards.values()})
    late.hear(cards, seed.cards["bob"], 2.0, source=5)
    states = {member.name: member.state for member in late.machine.members()}
    assert states == {"alice": "alive", "bob": "alive", "carol": "dead", "dave": "alive"}


def test_what_an_old_list_calls_dead_is_doubted_and_asked() -> None:
    lab = Lab("bob", "carol")
    carol = lab.cards["carol"]
    entry = update_of(carol, 0, DEAD, (1).to_bytes(4, "big"))
    out = lab.hear(MembersPage(carol.key, carol.key, entry), lab.cards["bob"], 1.0, source=5)
    assert told(out) == [PeerSuspected("carol")]
    assert [item.to for item in out if isinstance(item, Send)] == [carol.facts.addresses[0]]


def test_digests_that_differ_for_long_are_compared_and_not_too_often() -> None:
    lab = Lab("bob", settings=QUIET)
    bob = lab.cards["bob"]
    pages = []
    for tick in range(50):
        now = 5.0 + tick / 10
        out = lab.hear(Ping(tick, lab.card.key, pulse_of(bob, digest=1), b""), bob, now)
        pages += [now] * len(messages(out, MembersPage))
    assert len(pages) == 5
    assert pages[0] == pytest.approx(5.65, abs=0.1)


def test_who_leaves_tells_all_and_is_silent_then() -> None:
    lab = Lab("bob", "carol", settings=QUIET)
    lab.machine.link_opened(lab.cards["bob"].peer, lab.cards["bob"].facts.addresses[0], 0.1)
    out = lab.machine.leave(1.0)
    assert [read_updates(message.updates)[0][3] for message in messages(out, Gossip)] == [LEFT] * 3
    assert lab.machine.next_wakeup() == NEVER
    assert lab.hear(Ping(3, lab.card.key, pulse_of(lab.cards["bob"]), b""), lab.cards["bob"], 2.0) == []


def test_changed_facts_travel_as_a_newer_card() -> None:
    lab = Lab("bob")
    before = lab.machine.state_digest
    lab.machine.change_facts(MemberFacts(lab.card.facts.addresses, training=True), 1.0)
    assert (lab.card.version, lab.card.facts.training) == (2, True)
    assert lab.machine.state_digest != before
    out = [e for _, e in lab.run(1.2)]
    assert any(lab.machine.own_card in message.cards for message in messages(out, Gossip))
    with pytest.raises(UsageError):
        lab.machine.change_facts(MemberFacts((), role="r" * 2000), 2.0)


def test_views_are_copies_with_ourselves_in_them() -> None:
    lab = Lab("bob")
    assert [member.name for member in lab.machine.members()] == ["alice", "bob"]
    assert lab.machine.alive() == (lab.machine.me, lab.cards["bob"].peer)
    assert lab.machine.peer_named("bob") == lab.cards["bob"].peer
    assert lab.machine.peer_named("nobody") is None
    with pytest.raises(AttributeError):
        lab.machine.members()[0].state = "dead"  # type: ignore[misc]


def test_a_list_of_members_has_an_end() -> None:
    lab = Lab(settings=MembershipSettings(most_members=4))
    for number in range(6):
        lab.meet(card_of(f"peer-{number}"), 1.0)
    assert len(lab.machine.members()) == 4
    lab.gossip(update_of(lab.cards["peer-0"], 0, LEFT), now=2.0, sender="peer-1")
    lab.meet(card_of("peer-9"), 3.0)
    assert lab.machine.peer_named("peer-9") is not None


def test_cards_are_told_on_until_several_members_show_that_they_have_them() -> None:
    names = ("bob", "carol", "dave", "eve", "frank")
    lab = Lab(*names)
    waiting = len(lab.machine._voice.cards)
    digest = lab.machine._roster.digest

    def shows_our_digest(name: str) -> None:
        card = lab.cards[name]
        lab.hear(Ping(3, lab.card.key, pulse_of(card, digest=digest), b""), card, 0.1)

    for _ in range(20):  # it may lie: what it repeats is what we told it
        shows_our_digest("bob")
    assert len(lab.machine._voice.cards) == waiting > 0
    for name in names:
        shows_our_digest(name)
    assert len(lab.machine._voice.cards) == 0


def test_while_many_come_a_list_by_datagram_is_answered_with_a_few_cards_to_begin_with() -> None:
    def answered(*names: str) -> int:
        lab, page = Lab("bob", *names), pages(Lab("bob").machine._roster, whole=False)[0]
        out = lab.hear(page, lab.cards["bob"], 0.1)
        said = [effect.message for effect in out if isinstance(effect, Send)]
        return sum(len(message.cards) for message in said if isinstance(message, Cards))

    assert answered(*(f"n{number}" for number in range(5))) == 5
    assert answered(*(f"n{number}" for number in range(30))) == 8


def test_while_many_come_rounds_of_gossip_are_fewer() -> None:
    def next_round(count: int) -> float:
        gossiper = Lab(*(f"n{number}" for number in range(count))).machine._gossiper
        gossiper.wake(1.0)
        gossiper.hurry(1.0)
        return gossiper.due - 1.0

    assert next_round(60) > 5 * next_round(3)


def test_a_card_that_others_tell_us_is_told_less_often_whatever_is_remembered_of_its_bytes() -> None:
    lab = Lab("bob", "carol", "dave")
    carol, told = lab.cards["carol"], lab.machine._voice.cards.waiting
    assert told[carol.key] == 0
    for times, teller in ((3, "bob"), (6, "dave")):
        read_card.cache_clear()  # as where there are more cards than it keeps
        lab.hear(Gossip(b"", (carol.packed,), ()), lab.cards[teller], 0.1)
        assert told.get(carol.key, times) == times
    for _ in range(3):
        lab.hear(Gossip(b"", (carol.packed,), ()), lab.cards["bob"], 0.1)
    assert carol.key not in told


def test_who_blames_itself_waits_longer_for_an_answer() -> None:
    lab = Lab("bob", "carol", "dave", "erin", settings=QUIET)
    lab.machine._health.note(2)
    at, _ = first_ping(lab)
    history = lab.run(at + 2.9)
    asked = [when for when, e in history if isinstance(e, Send) and isinstance(e.message, PingRequest)]
    assert asked[0] - at == pytest.approx(1.5)


def test_who_answers_from_elsewhere_than_its_card_says_is_asked_there() -> None:
    lab, elsewhere = Lab("bob", settings=QUIET), Address("nat.example", 40_000)
    _, ping = first_ping(lab)
    bob = lab.cards["bob"]
    lab.machine._routes.answered(lab.machine._table[bob.key], elsewhere, 1.0)
    assert lab.machine._routes.address(lab.machine._table[bob.key]) == elsewhere != ping.to
    lab.machine._routes.heard_from(lab.machine._table[bob.key], bob.facts.addresses[0], 2.0)
    assert lab.machine._routes.address(lab.machine._table[bob.key]) == ping.to, "until it is there again"
