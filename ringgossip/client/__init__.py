"""How does a program talk to the peer that runs on its machine? Blocking calls; no trio, no threads.

    client = ringgossip.connect("/data/ringgossip")
    client.publish("models", "model.pth", copies=2)

One client may be used by many threads, pickled, and used on both sides of a
fork: connections are opened when they are needed, kept for the next call, and
never shared with a child. Importing this module is cheap by design: trainers
do it in every worker process.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ringgossip.client.connection import SILENCE, Connection
from ringgossip.errors import PeerGone, TimedOut
from ringgossip.wire.control import unpack_error

if TYPE_CHECKING:
    from ringgossip.events import Event

_MOST_IDLE = 4

Progress = Callable[[str, int, int], None]


# Named tuples, not dataclasses: those would double the time of the import.
class Artifact(NamedTuple):
    """One artifact as the peer sees it; `path` is None until it is `complete` here."""

    kind: str
    origin: str
    name: str
    sequence: int
    size: int
    root: str
    metadata: Mapping[str, Any]
    path: str | None
    complete: bool
    holders: tuple[str, ...]
    unlisted: str = ""  # withdrawn or retired: then only `unlisted=True` shows it
    via: str = ""  # the node that put it where it can be read here, on a shared disk; no copy of ours

    @property
    def text(self) -> str:
        """The artifact as people write it, `kind/origin/name`."""
        return f"{self.kind}/{self.origin}/{self.name}"


class Receipt(NamedTuple):
    """Who holds a verified copy of what was published; `missing` are members that do not, yet.

    `unchanged`: this very version was published before.
    """

    artifact: Artifact
    copies: int
    wanted: int
    holders: tuple[str, ...]
    missing: tuple[str, ...]
    unchanged: bool
    warnings: tuple[str, ...]

    @property
    def fulfilled(self) -> bool:
        """Whether there are as many copies as were asked for."""
        return self.copies >= self.wanted


def connect(data: str | os.PathLike[str], *, patience: float = SILENCE) -> "Client":
    """Return a client of the peer that runs on this data folder.

    `patience`: how many seconds a peer may be silent before a call raises `TimedOut`.
    Raises `PeerGone` if none runs there now.
    """
    client = Client(data, patience=patience)
    client._idle.append(Connection(client._data))
    return client


class Client:
    """Calls of a running peer. Every call raises `PeerGone` when it is not there (any more)."""

    def __init__(self, data: str | os.PathLike[str], *, patience: float = SILENCE) -> None:
        self._data = os.path.abspath(data)  # noqa: PTH100 - pathlib alone costs a fifth of the import
        self._patience = patience
        self._idle: list[Connection] = []

    # --- the verbs --------------------------------------------------------------------

    def publish(
        self,
        kind: str,
        path: str | os.PathLike[str],
        *,
        board_type: str | None = None,
        num_players: int | None = None,
        quality: float | None = None,
        name: str | None = None,
        replace: bool = False,
        copies: int = 0,
        timeout: float = 60.0,
        progress: Progress | None = None,
    ) -> Receipt:
        """Publish a file; with `copies`, wait up to `timeout` seconds until so many others hold it.

        Fewer than wanted is no error: the receipt says who does. `progress` hears
        (phase, done, total): `snapshot` and `hash` in bytes, then `copies`.
        """

        def heard(said: Mapping[str, Any]) -> None:
            steps = said.get("progress")
            if progress is not None and steps:
                progress(steps["phase"], steps["done"], steps["total"])

        result = self._call(
            "publish",
            {
                "kind": kind,
                "path": os.path.abspath(path),  # noqa: PTH100
                "board_type": board_type,
                "num_players": num_players,
                "quality": quality,
                "name": name,
                "replace": replace,
                "copies": copies,
                "timeout": timeout,
            },
            heard,
        )
        return _receipt(result)

    def artifacts(self, kind: str | None = None, *, unlisted: bool = False, **filters: Any) -> list[Artifact]:
        """Return what is listed, complete here or not; filters compare with its metadata.

        `unlisted`: also what was withdrawn, or published by a node that is retired.
        """
        asked = {"kind": kind, "filters": filters, "unlisted": unlisted}
        return [_artifact(entry) for entry in self._list("artifacts", asked)]

    def wait_for(
        self,
        kind: str,
        name: str,
        *,
        origin: str | None = None,
        newer_than: int | None = None,
        timeout: float = 60.0,
    ) -> Artifact:
        """Return the artifact once a verified copy is here; raise `TimedOut` after `timeout` seconds."""
        options = {"origin": origin, "newer_than": newer_than, "timeout": timeout}
        return _artifact(self._call("wait_for", {"kind": kind, "name": name, **options}))

    def sync(
        self,
        data_type: str = "all",
        targets: Iterable[str] | None = None,
        *,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Bring artifacts to nodes (None or ["all"]: all that may have them); options as for `Peer.sync`.

        Returns `success`, `nodes_synced`, `bytes_transferred`, `duration_seconds`, `errors` and
        `details`, whose `items` say of each (artifact, target) what became of it.
        """
        given = {"data_type": data_type, "targets": _listed(targets), **options}
        given["exclude_nodes"] = _listed(options.get("exclude_nodes"))
        return self._with_items("sync", given, progress)

    def trigger_priority_sync(
        self,
        reason: str = "orphan_games_recovery",
        source_node: str | None = None,
        config_key: str | None = None,
        data_type: str = "games",
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Pull what `source_node` holds, before everything else; returns what `sync` returns."""
        options = {"source_node": source_node, "config_key": config_key, "timeout": timeout}
        return self._with_items(
            "trigger_priority_sync", {"reason": reason, "data_type": data_type, **options}, None
        )

    def _with_items(self, call: str, given: Mapping[str, Any], progress: Progress | None) -> dict[str, Any]:
        items: list[dict[str, Any]] = []

        def heard(said: Mapping[str, Any]) -> None:
            items.extend(said.get("part", ()))
            steps = said.get("progress")
            if progress is not None and steps:
                progress(steps["phase"], steps["done"], steps["total"])

        result: dict[str, Any] = self._call(call, given, heard)
        result["details"]["items"] = items
        return result

    def withdraw(self, artifact: str, *, timeout: float = 60.0) -> Artifact:
        """End an artifact that this node published, `kind/origin/name`; no file is touched anywhere."""
        return _artifact(self._call("withdraw", {"artifact": artifact, "timeout": timeout}))

    def retire(self, order: bytes) -> dict[str, Any]:
        """Hand over an order of the authority that retires a node; returns `node` and `generation`."""
        result: dict[str, Any] = self._call("retire", {"order": order.hex()})
        return result

    def drain(self, deadline: float | None = None) -> dict[str, Any]:
        """Bring what only this node holds to others; returns `complete`, `copied`, `below`."""
        below: list[dict[str, Any]] = []
        result: dict[str, Any] = self._call(
            "drain", {"deadline": deadline}, lambda said: below.extend(said.get("part", ()))
        )
        return {**result, "below": below}

    def notify(self, name: str, /, **fields: Any) -> None:
        """Tell what happened at a node: `notify("TRAINING_STARTED", node_id="gpu-3")`."""
        self._call("notify", {"name": name, "fields": fields})

    def members(self) -> list[dict[str, Any]]:
        """Return everybody the peer knows, itself included."""
        return self._list("members", {})

    def transfers(self) -> list[dict[str, Any]]:
        """Return what the peer is pulling now."""
        return self._list("transfers", {})

    def explain(self, artifact: str, node: str) -> dict[str, Any]:
        """Return why a node has, lacks or will get an artifact (`kind/origin/name`): `code`, `sentence`."""
        result: dict[str, Any] = self._call("explain", {"artifact": artifact, "node": node})
        return result

    def status(self) -> dict[str, Any]:
        """Return the peer's whole state."""
        result: dict[str, Any] = self._call("status", {})
        return result

    def health_check(self) -> dict[str, Any]:
        """Return `healthy`, `status`, `message`, `timestamp` and `details`."""
        result: dict[str, Any] = self._call("health_check", {})
        return result

    def listen(self, timeout: float | None = None) -> "Listener":
        """Return an iterator of the events from now on; it ends when none came for `timeout` seconds."""
        connection = Connection(self._data)
        try:
            connection.send({"call": "listen", "with": {}})
            message = connection.receive(self._patience)
            if "error" in message:
                raise unpack_error(message["error"])
        except BaseException:
            connection.close()
            raise
        return Listener(connection, timeout, self._patience)

    def close(self) -> None:
        """Close the connections that are kept; the client may be used again."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ringgossip.connect({self._data!r})"

    # --- pickling ------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self._data, "patience": self._patience}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["data"], patience=state["patience"])  # type: ignore[misc]

    # --- one call ------------------------------------------------------------------------

    def _list(self, call: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        self._call(call, arguments, lambda said: parts.extend(said.get("part", ())))
        return parts

    def _call(
        self, call: str, arguments: Mapping[str, Any], hear: Callable[[Mapping[str, Any]], None] | None = None
    ) -> Any:
        given = {key: value for key, value in arguments.items() if value is not None}
        connection, message = self._ask({"call": call, "with": given})
        try:
            while "result" not in message and "error" not in message:
                if hear is not None:
                    hear(message)
                message = connection.receive(self._patience)
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        if "error" in message:
            raise unpack_error(message["error"])
        return message["result"]

    def _ask(self, request: Mapping[str, Any]) -> "tuple[Connection, dict[str, Any]]":
        """Send a request; return its connection and the first thing that is said."""
        while True:
            # Lists give and take in one step, so threads need no lock, and a fork finds none held.
            try:
                connection, kept = self._idle.pop(), True
            except IndexError:
                connection, kept = Connection(self._data), False
            try:
                connection.send(request)
                return connection, connection.receive(self._patience)
            except PeerGone:
                connection.close()
                # A kept connection ends when the peer needs its place or was started anew: ask again.
                if not kept:
                    raise
            except BaseException:
                connection.close()
                raise


class Listener:
    """An iterator of events; close it, or leave its `with`, to stop listening."""

    def __init__(self, connection: "Connection", timeout: float | None, patience: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._patience = patience
        self._waiting: list[Event] = []

    def __iter__(self) -> Iterator["Event"]:
        return self

    def __next__(self) -> "Event":
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._waiting:
            left = self._patience if end is None else min(self._patience, end - time.monotonic())
            if left <= 0:
                raise StopIteration
            try:
                message = self._connection.receive(left)
            except TimedOut:
                if end is not None and time.monotonic() >= end:
                    continue
                raise
            if "result" in message:
                raise StopIteration
            if "error" in message:
                raise unpack_error(message["error"])
            self._waiting = [event for event in map(_event, message.get("part", ())) if event is not None]
        return self._waiting.pop(0)

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(names: Iterable[str] | None) -> list[str] | None:
    """Return names as a list; one name alone is one name, not its letters."""
    return None if names is None else [names] if isinstance(names, str) else list(names)


def _artifact(packed: Mapping[str, Any]) -> Artifact:
    known = {**packed, "holders": tuple(packed["holders"])}
    return Artifact(**{field: known[field] for field in Artifact._fields})


def _receipt(packed: Mapping[str, Any]) -> Receipt:
    told = packed["receipt"]
    return Receipt(
        _artifact(packed["artifact"]),
        told["copies"],
        told["wanted"],
        tuple(told["holders"]),
        tuple(told["missing"]),
        told["unchanged"],
        tuple(told["warnings"]),
    )


def _event(packed: Mapping[str, Any]) -> "Event | None":
    """Return the event, or None for one of a newer version that we do not know."""
    from ringgossip import events

    kind = getattr(events, str(packed.get("event")), None)
    if not isinstance(kind, type) or not issubclass(kind, events.Event):
        return None
    try:
        return kind(**{name: value for name, value in packed.items() if name != "event"})
    except TypeError:
        return None
