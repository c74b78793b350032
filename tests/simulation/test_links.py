"""Links: opening, order, walls, resets, and machines that vanish without a word."""

from typing import Any

import pytest

from ringgossip.identity import Address
from ringgossip.simulation.bandwidth import Pieces, Unlimited
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.latency import Constant, Uniform
from ringgossip.simulation.links import Body, End, Links, Presence
from ringgossip.simulation.network import Network, Wall, Weather


class Speaker:
    """One side that notes everything it hears, with the time."""

    def __init__(self, kernel: Kernel, index: int) -> None:
        self.kernel = kernel
        self.index = index
        self.paused = False
        self.presence = Presence.RUNNING
        self.certificate: Any = f"certificate {index}"
        self.dislikes: Any = None
        self.keys = ["the key"]
        self.heard: list[tuple[str, Any]] = []
        self.times: list[float] = []
        self.end: End | None = None

    def note(self, what: str, detail: Any) -> None:
        self.heard.append((what, detail))
        self.times.append(self.kernel.now)

    def judge(self, certificate: Any) -> str | None:
        return "stranger" if certificate == self.dislikes else None

    def link_refused(self, address: Address, reason: str) -> None:
        self.note("refused", reason)

    def keys_refused(self, address: Address, name: str) -> None:
        self.note("keys refused", name)

    def on_dial_failed(self, address: Address, expected: Any, reason: str) -> None:
        self.note("dial failed", reason)

    def on_link_opened(self, end: End, address: Address, dialled: bool) -> None:
        self.end = end
        self.note("opened", (end.peer, dialled))

    def on_link_message(self, end: End, message: Any, size: int) -> None:
        self.note("message", message)

    def on_body_first(self, end: End, body: Body) -> None:
        self.note("first", body.index)

    def on_body_last(self, end: End, body: Body) -> None:
        self.note("last", body.index)

    def on_body_sent(self, end: End, body: Body) -> None:
        self.note("sent", body.index)

    def on_link_broken(self, end: End, reason: str) -> None:
        self.note("broken", reason)


class Pair:
    """Two speakers, a network, and a link if one is dialled."""

    def __init__(self, weather: Weather | None = None, rate: float | None = None) -> None:
        self.kernel = Kernel(1)
        carrier = Unlimited(self.kernel) if rate is None else Pieces(self.kernel)
        self.network = Network(self.kernel, weather or Weather(latency=Constant(0.1)), carrier)
        self.links = Links(self.kernel, self.network, carrier)
        self.speakers = []
        for i in range(2):
            self.kernel.add_owner()
            self.network.add(Address("10.0.0.1", i))
            carrier.add(rate, None)
            self.kernel.reboot(i, None)
            speaker = Speaker(self.kernel, i)
            self.links.add(speaker)
            self.speakers.append(speaker)

    def dial(self) -> tuple[Speaker, Speaker]:
        dialler, acceptor = self.speakers
        self.links.dial(dialler, self.network.addresses[1], None)
        return dialler, acceptor

    def open(self) -> tuple[Speaker, Speaker]:
        dialler, acceptor = self.dial()
        self.kernel.run(1.0)
        assert dialler.end is not None and acceptor.end is not None
        for speaker in self.speakers:
            speaker.heard.clear()
            speaker.times.clear()
        return dialler, acceptor

    def wall(self) -> None:
        self.network.raise_wall(Wall("w", frozenset({0}), frozenset({1})))


def test_opening_takes_two_round_trips_and_the_acceptor_hears_of_it_half_a_trip_later() -> None:
    pair = Pair()
    dialler, acceptor = pair.dial()
    pair.kernel.run(1.0)
    assert (dialler.heard, dialler.times) == ([("opened", ("certificate 1", True))], [pytest.approx(0.4)])
    assert (acceptor.heard, acceptor.times) == ([("opened", ("certificate 0", False))], [pytest.approx(0.5)])


@pytest.mark.parametrize(
    ("presence", "reason", "when"),
    [(Presence.REFUSING, "connection refused", 0.2), (Presence.SILENT, "timed out", 5.0)],
)
def test_a_dead_process_refuses_and_a_dead_machine_says_nothing(
    presence: Presence, reason: str, when: float
) -> None:
    pair = Pair()
    pair.speakers[1].presence = presence
    dialler, _ = pair.dial()
    pair.kernel.run(10.0)
    assert (dialler.heard, dialler.times) == ([("dial failed", reason)], [pytest.approx(when)])


def test_a_peer_that_cannot_accept_lets_diallers_time_out_and_can_dial_itself() -> None:
    pair = Pair()
    pair.network.accepts[1] = False
    dialler, hidden = pair.dial()
    pair.kernel.run(10.0)
    assert dialler.heard == [("dial failed", "timed out")]
    pair.links.dial(hidden, pair.network.addresses[0], None)
    pair.kernel.run(20.0)
    assert hidden.heard == [("opened", ("certificate 0", True))]


def test_a_stranger_is_refused_by_whoever_dislikes_the_certificate() -> None:
    pair = Pair()
    pair.speakers[1].dislikes = "certificate 0"
    dialler, acceptor = pair.dial()
    pair.kernel.run(10.0)
    assert dialler.heard == [("dial failed", "refused: stranger")]
    assert acceptor.heard == [("refused", "stranger")]


def test_dialling_oneself_fails() -> None:
    pair = Pair()
    pair.links.dial(pair.speakers[0], pair.network.addresses[0], None)
    pair.kernel.run(1.0)
    assert pair.speakers[0].heard == [("dial failed", "that is ourselves")]


def test_messages_stay_in_order_under_jitter_and_loss() -> None:
    pair = Pair(Weather(latency=Uniform(0.01, 0.5), loss=0.2))
    dialler, acceptor = pair.dial()
    pair.kernel.run(60.0)
    for number in range(200):
        pair.links.send(dialler.end, number, 50)  # type: ignore[arg-type]
    pair.kernel.run(200.0)
    assert acceptor.heard[1:] == [("message", number) for number in range(200)]


def test_a_body_is_announced_by_its_first_piece_and_its_sender_hears_when_it_has_left() -> None:
    pair = Pair(rate=1_000_000.0)
    dialler, acceptor = pair.open()
    pair.links.send_body(dialler.end, Body(1, b"r", 7, 500_000, b"h"))  # type: ignore[arg-type]
    pair.kernel.run(1.2)
    assert acceptor.heard == [("first", 7)]
    assert dialler.heard == []
    pair.kernel.run(3.0)
    assert acceptor.heard == [("first", 7), ("last", 7)]
    assert (dialler.heard, dialler.times) == ([("sent", 7)], [pytest.approx(1.5, abs=0.01)])


def test_a_wall_stalls_a_stream_which_goes_on_when_it_falls_in_time() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    pair.wall()
    for number in range(3):
        pair.links.send(dialler.end, number, 50)  # type: ignore[arg-type]
    pair.kernel.run(15.0)
    assert acceptor.heard == []
    pair.network.drop_wall("w")
    pair.links.send(dialler.end, 3, 50)  # type: ignore[arg-type]
    pair.kernel.run(60.0)
    assert acceptor.heard == [("message", number) for number in range(4)]
    assert dialler.heard == []


def test_a_stream_stalled_too_long_breaks_at_both_ends() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    pair.wall()
    pair.links.send(acceptor.end, "x", 50)  # type: ignore[arg-type]
    pair.kernel.run(60.0)
    assert dialler.heard == acceptor.heard == [("broken", "timed out")]
    assert dialler.times == [pytest.approx(21.1)]
    pair.network.drop_wall("w")
    pair.links.send(acceptor.end, "y", 50)  # type: ignore[arg-type]
    pair.kernel.run(90.0)
    assert len(dialler.heard) == 1


def test_closing_delivers_what_was_sent_and_is_heard_on_the_other_side_only() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    pair.links.send(acceptor.end, "late", 50)  # type: ignore[arg-type]
    pair.links.send(dialler.end, "bye", 50)  # type: ignore[arg-type]
    pair.links.close(dialler.end)  # type: ignore[arg-type]
    pair.kernel.run(60.0)
    assert acceptor.heard == [("message", "bye"), ("broken", "closed by the other side")]
    assert dialler.heard == []


def test_a_process_that_dies_resets_its_links() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    acceptor.presence = Presence.REFUSING
    pair.links.drop_all(acceptor, silently=False)
    pair.kernel.run(60.0)
    assert (dialler.heard, dialler.times) == ([("broken", "connection reset")], [pytest.approx(1.1)])
    assert acceptor.heard == []


def test_a_machine_that_dies_is_noticed_only_when_something_is_sent() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    acceptor.presence = Presence.SILENT
    pair.links.drop_all(acceptor, silently=True)
    pair.kernel.run(100.0)
    assert dialler.heard == []
    pair.links.send(dialler.end, "anybody?", 50)  # type: ignore[arg-type]
    pair.kernel.run(200.0)
    assert (dialler.heard, dialler.times) == ([("broken", "timed out")], [pytest.approx(120.1)])


def test_a_machine_that_is_back_resets_connections_it_does_not_know() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    acceptor.presence = Presence.SILENT
    pair.links.drop_all(acceptor, silently=True)
    pair.links.send(dialler.end, "anybody?", 50)  # type: ignore[arg-type]
    pair.kernel.run(5.0)
    acceptor.presence = Presence.RUNNING
    pair.kernel.reboot(1, None)
    pair.links.wake_stalled()
    pair.kernel.run(7.0)
    assert dialler.heard == [("broken", "connection reset")]
    assert acceptor.heard == []


def test_a_paused_peer_finishes_the_handshake_when_it_goes_on() -> None:
    pair = Pair()
    pair.speakers[1].paused = True
    dialler, _ = pair.dial()
    pair.kernel.run(2.0)
    assert dialler.heard == []
    pair.speakers[1].paused = False
    pair.kernel.run(4.0)
    assert dialler.heard == [("opened", ("certificate 1", True))]


def test_a_reset_in_between_breaks_both_ends_at_once() -> None:
    pair = Pair()
    dialler, acceptor = pair.open()
    pair.links.send(dialler.end, "lost", 50)  # type: ignore[arg-type]
    pair.links.reset(dialler.end)  # type: ignore[arg-type]
    pair.kernel.run(9.0)
    assert dialler.heard == acceptor.heard == [("broken", "connection reset")]
