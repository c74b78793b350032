"""Shares, limits and budgets of what we give: twice the share twice the bytes, and nobody starves."""

from random import Random

import pytest
from artifacts import CHUNK, Origin, manifest_of, peer

from ringgossip.config.blocks import Budget
from ringgossip.config.words import PRIORITIES
from ringgossip.content.record import Record
from ringgossip.events import BudgetSpent
from ringgossip.identity import PeerId
from ringgossip.protocol.budgets import Account
from ringgossip.protocol.core import LINK, LinkId, PersistSpent, Send, SendChunk, Tell
from ringgossip.protocol.serving import Out, Serving, ServingSettings
from ringgossip.protocol.shelf import Shelf
from ringgossip.strategy.bandwidth import Spent
from ringgossip.strategy.weights import share_of
from ringgossip.wire.messages import Busy, GetChunks

ORIGIN = Origin()
GAMES = ORIGIN.record(manifest_of(4000))
MODEL = ORIGIN.record(manifest_of(4000, "model"), "m.pth", "models")
A, B, C = peer(1), peer(2), peer(3)
SPENT = "byte budget spent until 1970-04-12 00:00 UTC"
MONTH = "byte budget spent until 1970-05-01 00:00 UTC"
UPLINK = 20 * CHUNK  # bytes a second


class Uplink:
    """A thin uplink: every asker always has more to ask, and bodies leave one after the other."""

    def __init__(self, machine: Serving, wishes: dict[PeerId, tuple[Record, str]]) -> None:
        self.machine = machine
        self.wishes = wishes
        self.given: dict[PeerId, int] = dict.fromkeys(wishes, 0)
        self.gaps: dict[PeerId, float] = dict.fromkeys(wishes, 0.0)
        self.order: list[PeerId] = []
        self._last: dict[PeerId, float] = dict.fromkeys(wishes, 0.0)
        self._queue: list[SendChunk] = []
        self._asked: dict[PeerId, int] = dict.fromkeys(wishes, 0)
        for who in wishes:
            machine.link_opened(who, 0.0)

    def _ask(self, who: PeerId, now: float) -> Out:
        record, word = self.wishes[who]
        self._asked[who] += 1
        start = self._asked[who] * 16 % 3900
        indices = tuple(range(start, start + 16))
        ask = GetChunks(self._asked[who], record.root, indices, PRIORITIES.index(word))
        return self.machine.receive(ask, who, LinkId(1), now)

    def run(self, seconds: float) -> None:
        now = 0.0
        while now < seconds:
            for who in self.wishes:
                asker = self.machine._askers[who]
                if len(asker.queue) < 8:
                    self._take(self._ask(who, now))
            self._take(self.machine.wake(now))
            if not self._queue:
                now += 0.002
                continue
            sent = self._queue.pop(0)
            now += sent.length / (4 * UPLINK)  # the limit is what is thin
            self.given[sent.peer] += sent.length
            self.order.append(sent.peer)
            self.gaps[sent.peer] = max(self.gaps[sent.peer], now - self._last[sent.peer])
            self._last[sent.peer] = now
            self._take(self.machine.chunk_sent(sent.peer, sent.request, sent.index, sent.length, now))

    def _take(self, out: Out) -> None:
        self._queue += [effect for effect in out if isinstance(effect, SendChunk)]


def serving(**more: object) -> Serving:
    shelf = Shelf()
    shelf.add(GAMES)
    shelf.add(MODEL)
    settings = ServingSettings(send_bytes_per_second=UPLINK, ahead_least=1, ahead_seconds=0.0)
    return Serving(settings, shelf, Random(1), 0.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [("low", "normal"), ("normal", "critical"), ("background", "high")])
def test_priority_words_divide_a_thin_uplink_as_their_shares(words: tuple[str, str]) -> None:
    uplink = Uplink(serving(), {A: (GAMES, words[0]), B: (GAMES, words[1])})
    uplink.run(60.0)
    ratio = uplink.given[B] / uplink.given[A]
    assert ratio == pytest.approx(share_of(words[1]) / share_of(words[0]), rel=0.05)


def test_twice_the_weight_is_twice_the_bytes() -> None:
    machine = serving(weight_of=lambda who: {A: 50.0, B: 100.0, C: 50.0}[who])
    uplink = Uplink(machine, dict.fromkeys((A, B, C), (GAMES, "normal")))
    uplink.run(60.0)
    assert uplink.given[B] == pytest.approx(2 * uplink.given[A], rel=0.05)
    assert uplink.given[A] == pytest.approx(uplink.given[C], rel=0.05)


def test_games_beside_models_that_never_end_are_slow_but_never_starve() -> None:
    uplink = Uplink(serving(), {A: (MODEL, "critical"), B: (GAMES, "background"), C: (GAMES, "normal")})
    uplink.run(120.0)
    # Of two that wait none waits longer than 5 s + 2, and one chunk on its way.
    assert max(uplink.gaps[B], uplink.gaps[C]) <= 5.0 + 2.0 + 2 * CHUNK / UPLINK
    # And models wait for no more than one chunk of games in a second.
    assert uplink.given[A] / sum(uplink.given.values()) > 0.9
    pairs = zip(uplink.order, uplink.order[1:], strict=False)
    assert not [pair for pair in pairs if A not in pair]


def test_one_peer_gets_no_more_than_its_own_limit_and_leaves_the_rest_to_others() -> None:
    limit = 5 * CHUNK
    machine = serving(limit_of=lambda who: float(limit) if who == A else None)
    uplink = Uplink(machine, {A: (GAMES, "normal"), B: (GAMES, "normal")})
    uplink.run(20.0)
    assert uplink.given[A] / 20.0 == pytest.approx(limit, rel=0.05)
    assert uplink.given[B] / 20.0 == pytest.approx(UPLINK - limit, rel=0.05)


def test_a_limit_that_is_lifted_at_run_time_holds_no_longer() -> None:
    limits: dict[PeerId, float | None] = {A: float(CHUNK)}
    machine = serving(limit_of=limits.get)
    uplink = Uplink(machine, {A: (GAMES, "normal")})
    uplink.run(5.0)
    assert uplink.given[A] <= 7 * CHUNK
    limits[A] = None
    out = machine.set_limits(None, Budget(), 5.0)
    assert [effect for effect in out if isinstance(effect, SendChunk)]


def test_a_byte_budget_that_has_left_serves_only_what_is_critical_until_the_next_day() -> None:
    machine = serving(budget=Budget(send_bytes_per_day=3 * CHUNK))
    machine.account.day_changed(100)
    machine.link_opened(A, 0.0)
    out = machine.receive(GetChunks(1, GAMES.root, tuple(range(8))), A, LinkId(1), 0.0)
    for index in range(2):
        out += machine.wake(1.0 + index)
        out += machine.chunk_sent(A, 1, index, CHUNK, 1.5 + index)
    assert len([effect for effect in out if isinstance(effect, SendChunk)]) == 3
    assert Tell(BudgetSpent("day", 3 * CHUNK)) in out
    assert Send(A, Busy(1, 30.0, SPENT), LINK) in out
    assert PersistSpent(Spent(100, 3 * CHUNK, 3 * CHUNK)) in out
    refused = machine.receive(GetChunks(2, GAMES.root, (5,)), A, LinkId(1), 5.0)
    assert refused == [Send(A, Busy(2, 30.0, SPENT), LINK)]
    machine.chunk_sent(A, 1, 2, CHUNK, 5.0)
    critical = GetChunks(3, GAMES.root, (6,), PRIORITIES.index("critical"))
    assert [type(effect) for effect in machine.receive(critical, A, LinkId(1), 6.0)][:1] == [SendChunk]
    machine.account.day_changed(101)
    out = machine.receive(GetChunks(4, GAMES.root, (7,)), A, LinkId(1), 7.0)
    out += machine.chunk_sent(A, 3, 6, CHUNK, 7.0)
    assert SendChunk(A, 4, GAMES.root, 7, CHUNK) in out


def test_a_restart_forgives_no_spent_byte() -> None:
    machine = serving(budget=Budget(send_bytes_per_month=CHUNK), spent=Spent(100, 0, CHUNK))
    machine.link_opened(A, 0.0)
    refused = machine.receive(GetChunks(1, GAMES.root, (0,)), A, LinkId(1), 0.0)
    assert refused == [Send(A, Busy(1, 30.0, MONTH), LINK), Tell(BudgetSpent("month", CHUNK))]
    refused = machine.receive(GetChunks(2, GAMES.root, (0,)), A, LinkId(1), 0.0)
    assert refused == [Send(A, Busy(2, 30.0, MONTH), LINK)], "it is told once"


def test_a_crash_forgives_no_more_than_a_small_part_of_a_small_budget() -> None:
    account = Account(Budget(send_bytes_per_day=6400), Spent())
    account.day_changed(100)
    written = [account.take(60), account.take(60), account.take(60)]
    assert written == [[], [PersistSpent(Spent(100, 120, 120))], []]


def test_a_clock_that_was_far_ahead_once_does_not_end_all_days() -> None:
    account = Account(Budget(send_bytes_per_day=100), Spent())
    account.day_changed(50_000)
    account.take(100)
    assert account.day_changed(20_000) == [PersistSpent(Spent(20_000, 100, 100))]
    assert account.left() == 0, "what has left counts on"
    account.day_changed(19_999)
    assert account.left() == 0, "a clock that steps over midnight gives nothing back"
    account.day_changed(20_001)
    assert account.left() == 100
