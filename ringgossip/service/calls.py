"""Which calls may a program of this machine make on a peer? One table; every argument is checked here.

To add one: write its function and its line in `CALLS`, and its method in `client`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from ringgossip.errors import UsageError
from ringgossip.protocol.request_words import ORPHANS
from ringgossip.service.shapes import explanation_shape, member_shape, transfer_shape

if TYPE_CHECKING:
    from ringgossip.runtime.peer import Peer

_T = TypeVar("_T")

# About 100 KB a line.
_PART = 200
_LONGEST_WAIT = 30 * 86400.0
# Progress of hashing comes far more often than anybody reads it.
_PROGRESS_PAUSE = 0.1


class Conversation(Protocol):
    """What a call may say before its result."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send `{"progress": ...}` or `{"part": ...}`."""
        ...


Run = Callable[["Peer", Mapping[str, Any], Conversation], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `waits` if it may last and must be cancelled when the program hangs up."""

    run: Run
    waits: bool = False


class _Arguments:
    """Takes arguments one by one, each of one type; what is left over is a mistake."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._left = dict(given)

    def take(self, name: str, kind: type[_T], default: Any = ...) -> Any:
        value = self._left.pop(name, default)
        if value is ...:
            raise UsageError(f"{name} is missing")
        if value is None and default is None:
            return None
        # True is an int to isinstance, and JSON writes 60.0 as 60.
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(f"{name} must be of type {kind.__name__}, not {value!r:.60}")
        return value

    def seconds(self, name: str, default: float) -> float:
        value: float = self.take(name, float, default)
        if not 0 <= value <= _LONGEST_WAIT:
            raise UsageError(f"{name} must be from 0 to {_LONGEST_WAIT:g} seconds, not {value:g}")
        return value

    def end(self) -> None:
        if self._left:
            raise UsageError(f"{next(iter(self._left))!r:.60} is no argument of this call")


class _Steps:
    """Tells the latest step of long work now and then, and the last one always; a context manager."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._latest: tuple[str, int, int] | None = None
        self._told: tuple[str, int, int] | None = None

    def _note(self, phase: str, done: int, total: int) -> None:
        self._latest = (phase, done, total)

    async def _tell_latest(self) -> None:
        if self._latest is not None and self._latest != self._told:
            self._told = self._latest
            await self._talk.send({"progress": dict(zip(("phase", "done", "total"), self._told))})

    async def _tell(self) -> None:
        while True:
            await trio.sleep(_PROGRESS_PAUSE)
            await self._tell_latest()

    async def __aenter__(self) -> Callable[[str, int, int], None]:
        self._nurseries = trio.open_nursery()
        self._nursery = await self._nurseries.__aenter__()
        self._nursery.start_soon(self._tell)
        return self._note

    async def __aexit__(self, *problem: Any) -> None:
        self._nursery.cancel_scope.cancel()
        await self._nurseries.__aexit__(*problem)
        if problem[0] is None:
            await self._tell_latest()


async def _publish(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    kind, path = arguments.take("kind", str), Path(arguments.take("path", str))
    options = {
        "board_type": arguments.take("board_type", str, None),
        "num_players": arguments.take("num_players", int, None),
        "quality": arguments.take("quality", float, None),
        "name": arguments.take("name", str, None),
        "replace": arguments.take("replace", bool, False),
        "copies": arguments.take("copies", int, 0),
        "timeout": arguments.seconds("timeout", 60.0),
    }
    arguments.end()
    if not path.is_absolute():
        raise UsageError(f"{path} must be an absolute path: the peer has another working directory")
    async with _Steps(talk) as note:
        receipt = await peer.publish(kind, path, **options, progress=note)
    return receipt.as_dict()


async def _artifacts(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> None:
    arguments = _Arguments(given)
    kind = arguments.take("kind", str, None)
    filters, unlisted = arguments.take("filters", dict, {}), arguments.take("unlisted", bool, False)
    arguments.end()
    found = peer.artifacts(kind, unlisted=unlisted, **filters)
    for start in range(0, len(found), _PART):
        await talk.send({"part": [artifact.as_dict() for artifact in found[start : start + _PART]]})


async def _wait_for(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    kind, name = arguments.take("kind", str), arguments.take("name", str)
    options = {
        "origin": arguments.take("origin", str, None),
        "newer_than": arguments.take("newer_than", int, None),
        "timeout": arguments.seconds("timeout", 60.0),
    }
    arguments.end()
    return (await peer.wait_for(kind, name, **options)).as_dict()


async def _withdraw(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    artifact, timeout = arguments.take("artifact", str), arguments.seconds("timeout", 60.0)
    arguments.end()
    return (await peer.withdraw(artifact, timeout=timeout)).as_dict()


async def _retire(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    order = arguments.take("order", str)
    arguments.end()
    try:
        packed = bytes.fromhex(order)
    except ValueError:
        raise UsageError("order must be the bytes of an order, in hex") from None
    node, generation = peer.retire(packed)
    return {"node": node, "generation": generation}


async def _sync(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    options = {
        "data_type": arguments.take("data_type", str, "all"),
        "targets": arguments.take("targets", list, None),
        "board_type": arguments.take("board_type", str, None),
        "num_players": arguments.take("num_players", int, None),
        "priority": arguments.take("priority", str, "normal"),
        "timeout": arguments.take("timeout", float, None),
        "bandwidth_limit": arguments.take("bandwidth_limit", float, None),
        "exclude_nodes": arguments.take("exclude_nodes", list, []),
        "prefer_ephemeral": arguments.take("prefer_ephemeral", bool, False),
        "require_confirmation": arguments.take("require_confirmation", bool, False),
        "source_node": arguments.take("source_node", str, None),
        "reason": arguments.take("reason", str, ""),
    }
    arguments.end()
    async with _Steps(talk) as note:
        result = await peer.sync(**options, progress=note)
    return await _in_parts(result.as_dict(), talk)


async def _in_parts(result: dict[str, Any], talk: Conversation) -> dict[str, Any]:
    """Send the rows of a sync in parts, since they may be many; return the rest."""
    items = result["details"].pop("items")
    for start in range(0, len(items), _PART):
        await talk.send({"part": items[start : start + _PART]})
    return result


async def _trigger_priority_sync(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    options = {
        "reason": arguments.take("reason", str, ORPHANS),
        "source_node": arguments.take("source_node", str, None),
        "config_key": arguments.take("config_key", str, None),
        "data_type": arguments.take("data_type", str, "games"),
        "timeout": arguments.take("timeout", float, None),
    }
    arguments.end()
    return await _in_parts((await peer.trigger_priority_sync(**options)).as_dict(), talk)


async def _drain(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    deadline = arguments.take("deadline", float, None)
    arguments.end()
    result = (await peer.drain(deadline)).as_dict()
    below = result.pop("below")
    for start in range(0, len(below), _PART):
        await talk.send({"part": below[start : start + _PART]})
    return result


async def _notify(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    name, fields = arguments.take("name", str), arguments.take("fields", dict, {})
    arguments.end()
    peer.notify(name, **fields)
    return {}


async def _members(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> None:
    _Arguments(given).end()
    found = peer.members()
    breakers: dict[str, dict[str, str]] = {}
    for breaker in peer.breakers():
        breakers.setdefault(breaker.peer, {})[breaker.route] = breaker.state
    for start in range(0, len(found), _PART):
        part = [member_shape(member, breakers.get(member.name)) for member in found[start : start + _PART]]
        await talk.send({"part": part})


async def _transfers(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> None:
    _Arguments(given).end()
    found = peer.transfers()
    for start in range(0, len(found), _PART):
        await talk.send({"part": [transfer_shape(transfer) for transfer in found[start : start + _PART]]})


async def _explain(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    arguments = _Arguments(given)
    artifact, node = arguments.take("artifact", str), arguments.take("node", str)
    arguments.end()
    return explanation_shape(peer.explain(artifact, node))


async def _status(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    _Arguments(given).end()
    return peer.status()


async def _health_check(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> Any:
    _Arguments(given).end()
    return peer.health_check().as_dict()


async def _listen(peer: "Peer", given: Mapping[str, Any], talk: Conversation) -> None:
    """Tell every event from now on; the first progress says that we listen."""
    _Arguments(given).end()
    async with peer.listen() as events:
        await talk.send({"progress": {}})
        async for event in events:
            await talk.send({"part": [event.as_dict()]})


CALLS: Mapping[str, Call] = {
    "publish": Call(_publish, waits=True),
    "wait_for": Call(_wait_for, waits=True),
    "listen": Call(_listen, waits=True),
    "withdraw": Call(_withdraw, waits=True),
    "retire": Call(_retire),
    "sync": Call(_sync, waits=True),
    "trigger_priority_sync": Call(_trigger_priority_sync, waits=True),
    "drain": Call(_drain, waits=True),
    "notify": Call(_notify),
    "artifacts": Call(_artifacts),
    "members": Call(_members),
    "transfers": Call(_transfers),
    "explain": Call(_explain),
    "status": Call(_status),
    "health_check": Call(_health_check),
}
