"""Can membership be set to do what the papers say, where production does better?"""

from typing import Any

from member_network import Lab, MemberNetwork

from ringgossip.events import PeerSuspected
from ringgossip.protocol.core import NEVER, Send, Tell
from ringgossip.protocol.evidence import SUSPECT, read_updates
from ringgossip.protocol.probing import ProbeSettings
from ringgossip.protocol.settings import GossipSettings, MembershipSettings
from ringgossip.protocol.suspicion import SuspicionSettings
from ringgossip.wire.messages import Gossip, Ping

QUIET = GossipSettings(fanout=0)


def told(out: list[Any]) -> list[Any]:
    return [item.event for item in out if isinstance(item, Tell)]


def accusations_heard_by_bob(buddy: bool) -> int:
    suspicion = SuspicionSettings(buddy=buddy)
    lab = Lab("bob", settings=MembershipSettings(gossip=QUIET, suspicion=suspicion))
    sent = [effect for _, effect in lab.run(4.9) if isinstance(effect, Send)]
    assert lab.state("bob") == "suspect"
    packed = [each.message.updates for each in sent if isinstance(each.message, Ping | Gossip)]
    return sum(update[0] == lab.cards["bob"].key and update[3] == SUSPECT
               for updates in packed for update in read_updates(updates))  # fmt: skip


def test_without_the_buddy_system_a_suspect_hears_of_it_as_often_as_of_any_other_news() -> None:
    limit = 4  # times the logarithm of two members
    assert accusations_heard_by_bob(buddy=False) <= limit < accusations_heard_by_bob(buddy=True)


def test_members_that_start_in_step_probe_in_step() -> None:
    in_step = MembershipSettings(probe=ProbeSettings(stagger=0.0))
    for settings, alike in ((in_step, True), (MembershipSettings(), False)):
        net = MemberNetwork(settings=settings)
        for number in range(4):
            net.add(f"node-{number}", seeds=(0,))
        net.start_all()
        net.packets = []
        net.run(6.5)
        phases = {round(when % 1.0, 1) for when, _, _, message in net.packets
                  if when > 5 and isinstance(message, Ping)}  # fmt: skip
        assert (phases == {0.0}) is alike


def test_as_in_swim_the_silent_are_to_blame_however_late_we_come() -> None:
    for stalled_after, events in ((NEVER, [PeerSuspected("bob")]), (2.0, [])):
        settings = MembershipSettings(probe=ProbeSettings(stalled_after=stalled_after), gossip=QUIET)
        lab = Lab("bob", settings=settings)
        at = next(when for when, e in lab.run(1.01) if isinstance(e, Send) and isinstance(e.message, Ping))
        assert told(lab.machine.wake(at + 30.0)) == events
