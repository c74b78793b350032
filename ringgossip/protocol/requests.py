"""Carry out a `sync`: bring artifacts to nodes, and say of each (artifact, target) what became of it.

What a target lacks is offered to it on a link; the target judges by its own
rules, pulls from whoever holds it, and announces its copy as it always does:
that announcement, and nothing we did ourselves, makes a row `moved`. A request
with a source first asks that node what it holds.

Source: field notes, section 1 (sync request, sync response); incident 15
("Success" that did nothing).
"""

from collections.abc import Iterable

from ringgossip.content.record import ArtifactKey, Record
from ringgossip.events import ArtifactRejected, DataSyncStarted, Event, TransferStalled
from ringgossip.identity import PeerId
from ringgossip.protocol.answers import (
    FAILED,
    MOVED,
    NO_HOLDER,
    PRESENT,
    REFUSED,
    TIMED_OUT,
    SyncProgress,
    SyncReport,
    SyncRequest,
    SyncRow,
)
from ringgossip.protocol.core import LINK, NEVER, Effect, NeedLink, Notice, Send, SyncAnswered, Tell
from ringgossip.protocol.pacing import TokenBucket
from ringgossip.protocol.receipts import entries_of, entry_of, version_of
from ringgossip.protocol.request_scene import Scene
from ringgossip.protocol.request_words import (
    Request,
    Row,
    config_key_of,
    events_of,
    kinds_of,
    matches,
    outcome_of,
)
from ringgossip.wire.messages import Offer, RecordsWanted, SyncDone, SyncWanted

Out = list[Effect | Notice]

_LISTING = 5.0  # seconds that a source has to say what it holds; then its own publications must do
_MOST_ROWS = 200_000  # of all requests together
_IN_ONE_OFFER = 500


class Requests:
    """The machine that carries out what users ask for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._requests: dict[int, Request] = {}
        self._waiting: dict[tuple[bytes, PeerId], list[tuple[Request, Row]]] = {}
        self._number = 0
        self._rows = 0

    # --- asking ----------------------------------------------------------------------------

    def sync(self, ticket: int, asked: SyncRequest, now: float) -> Out:
        """Begin; `SyncAnswered` with this ticket comes when every row has its outcome or the time is over."""
        limit = None if asked.bandwidth_limit is None else TokenBucket(asked.bandwidth_limit, now)
        request = Request(ticket, asked, now, now + asked.timeout, limit)
        self._requests[ticket] = request
        targets = (self._scene.name,) if asked.source_node else asked.targets or ("all",)
        out: Out = [
            Tell(
                DataSyncStarted(
                    asked.sync_type,
                    asked.data_type,
                    targets,
                    self._scene.name,
                    asked.source_node or self._scene.name,
                    config_key_of(asked),
                )
            )
        ]
        if asked.source_node is None:
            records = [record for kind in kinds_of(asked) for record in self._scene.records(kind)]
            out += self._add(request, records, self._targets(request), now)
        else:
            out += self._ask_source(request, now)
        return out + self._close_if_done(request, now)

    def _ask_source(self, request: Request, now: float) -> Out:
        name = request.asked.source_node
        assert name is not None
        source = self._scene.node(name)
        if source is None:
            request.errors.append(f"no node {name} is known: `ringgossip members` names them")
            return []
        if source == self._scene.me:
            request.errors.append(f"{name} is this node: what it has is here")
            return []
        if source not in self._scene.reachable():
            return self._begin_pull(request, (), now)
        request.list_until = min(now + _LISTING, request.deadline)
        out: Out = []
        for kind in kinds_of(request.asked):
            self._number = self._number % (2**32 - 1) + 1
            request.listing[self._number] = kind
            out.append(Send(source, SyncWanted(self._number, kind), LINK))
        return out if self._scene.linked(source) else [NeedLink(source)]

    def list_heard(self, sender: PeerId, message: SyncDone, now: float) -> Out:
        """The source says what it holds."""
        request = next((found for found in self._requests.values() if message.request in found.listing), None)
        if request is None or self._scene.node(request.asked.source_node or "") != sender:
            return []
        kind = request.listing[message.request]
        if message.last:
            del request.listing[message.request]
        records, unknown = [], []
        for entry in entries_of(message.entries):
            record = self._scene.record_of(entry[:32])
            if record is not None and record.sequence >= version_of(entry)[0]:
                records += [] if self._scene.unlisted(record) else [record]
            elif len(request.awaited) < _MOST_ROWS - self._rows:
                request.awaited[entry[:32]] = version_of(entry)[0]
                unknown.append(entry[:32])
        out: Out = []
        if unknown:
            out.append(Send(sender, RecordsWanted(kind, b"".join(unknown)), LINK))
        if not request.listing:
            request.list_until = NEVER
        out += self._add(request, records, (self._scene.me,), now)
        return out + self._close_if_done(request, now)

    def _begin_pull(self, request: Request, already: Iterable[Record], now: float) -> Out:
        """The source says nothing (any more): pull what it published, from whoever has it."""
        request.listing.clear()
        request.list_until = NEVER
        known = {row.record.key for row in request.rows}
        records = [
            record
            for kind in kinds_of(request.asked)
            for record in self._scene.records(kind)
            if record.origin == request.asked.source_node and record.key not in known
        ]
        return self._add(request, [*already, *records], (self._scene.me,), now)

    # --- rows ------------------------------------------------------------------------------------

    def _targets(self, request: Request) -> tuple[PeerId, ...]:
        asked, scene = request.asked, self._scene
        excluded = set(asked.exclude_nodes)
        if asked.everywhere:
            found = [peer for peer in scene.reachable() if scene.name_of(peer) not in excluded]
        else:
            found = []
            for name in dict.fromkeys(asked.targets or ()):
                peer = scene.node(name)
                if name in excluded:
                    continue
                if peer is None:
                    request.errors.append(f"no node {name} is known: `ringgossip members` names them")
                else:
                    found.append(peer)
        if asked.prefer_ephemeral:
            found.sort(key=lambda peer: not scene.ephemeral(scene.name_of(peer)))
        return tuple(found)

    def _add(self, request: Request, records: list[Record], targets: tuple[PeerId, ...], now: float) -> Out:
        asked, scene = request.asked, self._scene
        chosen = [record for record in records if matches(record, asked)]
        if asked.prefer_ephemeral:
            chosen.sort(key=lambda record: not scene.ephemeral(record.origin))
        reachable = scene.reachable()
        out: Out = []
        offers: dict[PeerId, list[Row]] = {}
        for record in chosen:
            holders = scene.holders_of(record)
            for target in targets:
                # A node that the rules refuse is none of "all"; named, it is told of.
                code = "" if target in holders else scene.eligible(target, record)
                if code and asked.everywhere and asked.source_node is None:
                    continue
                if self._rows >= _MOST_ROWS:
                    request.errors.append("this asks for too much at once: name a kind, a board or targets")
                    return out
                row = Row(record, target)
                request.rows.append(row)
                self._rows += 1
                if target in holders and (not asked.require_confirmation or target == scene.me):
                    row.outcome = PRESENT
                elif code:
                    row.outcome, row.detail = REFUSED, code
                elif target not in reachable:
                    row.outcome, row.detail = FAILED, f"{scene.name_of(target)} is not reachable"
                    out += scene.keep(record, target, request.priority)
                elif not any(source in reachable for source in scene.sources_of(record)):
                    row.outcome = NO_HOLDER
                    out += self._wish(request, row, now)
                elif target == scene.me:
                    out += self._pull_here(request, row, now)
                else:
                    self._open(request, row)
                    offers.setdefault(target, []).append(row)
        for target, rows in offers.items():
            out += self._offer(request, target, rows)
        return out

    def _wish(self, request: Request, row: Row, now: float) -> Out:
        """Nobody has it now; here it stays asked for, and comes when somebody does."""
        if row.target != self._scene.me:
            return []
        return self._scene.ask_here(row.record, request.priority, request.limit, now)[1]

    def _pull_here(self, request: Request, row: Row, now: float) -> Out:
        self._open(request, row)
        code, out = self._scene.ask_here(row.record, request.priority, request.limit, now)
        if code:
            self._close(request, row, *outcome_of(code))
        return out

    def _offer(self, request: Request, target: PeerId, rows: list[Row]) -> Out:
        # On disk before it is said: a crash before the answer loses nothing.
        kept = [self._scene.keep(row.record, target, request.priority) for row in rows]
        out = [effect for effects in kept for effect in effects]
        if not self._scene.linked(target):
            return [*out, NeedLink(target)]
        limit = request.asked.bandwidth_limit
        rate = 0 if limit is None else max(1, int(limit))
        entries = [entry_of(row.record) for row in rows]
        for start in range(0, len(entries), _IN_ONE_OFFER):
            part = b"".join(entries[start : start + _IN_ONE_OFFER])
            out.append(Send(target, Offer(part, request.priority, True, rate), LINK))
        return out

    def _open(self, request: Request, row: Row) -> None:
        request.open += 1
        self._waiting.setdefault((row.record.key.hash, row.target), []).append((request, row))

    def _close(self, request: Request, row: Row, outcome: str, detail: str = "") -> None:
        if row.outcome:
            return
        row.outcome, row.detail = outcome, detail
        request.open -= 1
        place = (row.record.key.hash, row.target)
        left = [pair for pair in self._waiting[place] if pair[1] is not row]
        if left:
            self._waiting[place] = left
        else:
            del self._waiting[place]

    # --- what is heard ----------------------------------------------------------------------------

    def link_opened(self, peer: PeerId, now: float) -> Out:
        """Say what could not be said before, and again what was not answered."""
        out: Out = []
        for request in list(self._requests.values()):
            if request.listing and self._scene.node(request.asked.source_node or "") == peer:
                out += [Send(peer, SyncWanted(*item), LINK) for item in request.listing.items()]
            rows = [row for row in request.rows if row.target == peer and not row.outcome]
            if rows:
                out += self._offer(request, peer, rows)
        return out

    def answered(self, peer: PeerId, entries: bytes, code: str, now: float) -> Out:
        """A target said what it thinks of an offer."""
        outcome, detail = outcome_of(code)
        touched: dict[Request, None] = {}
        for entry in entries_of(entries):
            for request, row in list(self._waiting.get((entry[:32], peer), ())):
                if not outcome:
                    row.accepted = True
                    continue
                self._close(request, row, outcome, detail)
                touched[request] = None
        return [effect for request in touched for effect in self._close_if_done(request, now)]

    def held(self, peer: PeerId, key_hash: bytes, sequence: int, now: float) -> Out:
        """`peer`, perhaps ourselves, has a verified copy of this version."""
        touched: dict[Request, None] = {}
        for request, row in list(self._waiting.get((key_hash, peer), ())):
            if sequence >= row.record.sequence:
                self._close(request, row, MOVED)
                touched[request] = None
        return [effect for request in touched for effect in self._close_if_done(request, now)]

    def ended(self, key_hash: bytes, code: str, now: float) -> Out:
        """It is listed no more: nobody brings it anywhere."""
        touched: dict[Request, None] = {}
        for place in [place for place in self._waiting if place[0] == key_hash]:
            for request, row in list(self._waiting[place]):
                self._close(request, row, *outcome_of(code))
                touched[request] = None
        return [effect for request in touched for effect in self._close_if_done(request, now)]

    def entered(self, record: Record, now: float) -> Out:
        """A record that a source holds, and that we lacked, is here."""
        out: Out = []
        key_hash = record.key.hash
        for request in list(self._requests.values()):
            if request.awaited.get(key_hash, NEVER) <= record.sequence:
                del request.awaited[key_hash]
                out += self._add(request, [record], (self._scene.me,), now)
                out += self._close_if_done(request, now)
        return out

    def observe(self, event: Event, now: float) -> Out:
        """Something happened to a transfer here."""
        if not isinstance(event, ArtifactRejected | TransferStalled) or not self._waiting:
            return []
        touched: dict[Request, None] = {}
        place = (ArtifactKey.parse(event.artifact).hash, self._scene.me)
        for request, row in list(self._waiting.get(place, ())):
            row.trouble = event.reason
            if isinstance(event, ArtifactRejected):
                self._close(request, row, FAILED, event.reason)
                touched[request] = None
        return [effect for request in touched for effect in self._close_if_done(request, now)]

    # --- time and the end -------------------------------------------------------------------------

    def wake(self, now: float) -> Out:
        """End what took too long."""
        out: Out = []
        for request in list(self._requests.values()):
            if request.listing and now >= request.list_until:
                out += self._begin_pull(request, (), now)
            if now >= request.deadline:
                out += self._give_up(request)
            out += self._close_if_done(request, now)
        return out

    def _give_up(self, request: Request) -> Out:
        reachable = self._scene.reachable()
        out: Out = []
        for row in request.rows:
            if row.outcome:
                continue
            if row.target != self._scene.me and not row.accepted:
                out += self._scene.keep(row.record, row.target, request.priority)
            if not any(source in reachable for source in self._scene.sources_of(row.record)):
                self._close(request, row, NO_HOLDER)
            elif row.trouble:
                self._close(request, row, FAILED, row.trouble)
            else:
                self._close(request, row, TIMED_OUT)
        if request.awaited:
            source = request.asked.source_node
            request.errors.append(f"{len(request.awaited)} records of {source} did not come")
            request.awaited.clear()
        request.listing.clear()
        return out

    def next_wakeup(self) -> float:
        """Return the nearest deadline."""
        due = NEVER
        for request in self._requests.values():
            due = min(due, request.deadline, request.list_until if request.listing else NEVER)
        return due

    def _close_if_done(self, request: Request, now: float) -> Out:
        if request.open or request.listing or request.awaited or request.ticket not in self._requests:
            return []
        del self._requests[request.ticket]
        self._rows -= len(request.rows)
        scene, asked = self._scene, request.asked
        rows = tuple(
            SyncRow(
                row.record.key.text,
                row.record.sequence,
                scene.name_of(row.target),
                row.outcome,
                row.detail,
                row.record.size,
            )
            for row in request.rows
        )
        report = SyncReport(rows, tuple(request.errors), now - request.began)
        return [SyncAnswered(request.ticket, report), *events_of(scene.name, asked, report)]

    def cancel(self, ticket: int) -> None:
        """Nobody waits for the answer any more; what was asked for stays asked for."""
        request = self._requests.pop(ticket, None)
        if request is not None:
            for row in request.rows:
                self._close(request, row, TIMED_OUT)
            self._rows -= len(request.rows)

    def progress(self, ticket: int) -> SyncProgress | None:
        """Return how far a request is; None when it has ended."""
        request = self._requests.get(ticket)
        if request is None:
            return None
        ended = [row for row in request.rows if row.outcome]
        moved = sum(row.record.size for row in ended if row.outcome == MOVED)
        left = sum(row.record.size for row in request.rows if not row.outcome)
        return SyncProgress(len(ended), len(request.rows), moved, moved + left)
