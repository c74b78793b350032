"""How do watchers see a peer over HTTP? GET and HEAD of a few pages, bounded in every direction.

A page is a function that returns at once, from memory: nothing here waits for
a disk or a lock, so a monitor gets its answer from a peer under full load. The
address should be a local one; there are no secrets in the pages, and no way to
change anything.
"""

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
import trio

from ringgossip.errors import OperationFailed
from ringgossip.identity import Address

logger = logging.getLogger("ringgossip.service")

MOST_CONNECTIONS = 32
_LONGEST_HEAD = 16 * 1024
_LONGEST_BODY = 64 * 1024  # Nobody needs to send one; what is longer is hung up on.
_REQUEST_SECONDS = 10.0  # From the first byte of a request, or of silence, to its end.
_SEND_SECONDS = 10.0
_CONNECTION_SECONDS = 300.0  # Then it may be opened anew: nobody holds a place for ever.
_READ = 16 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]
Places = dict[trio.CancelScope, float]  # a place for each connection, and since when it waits for a request


def json_page(data: Any, status: int = 200) -> Page:
    """Return `data` as a page."""
    return Page(status, "application/json", json.dumps(data, default=str).encode() + b"\n")


def text_page(text: str, status: int = 200) -> Page:
    """Return a line of text as a page."""
    return Page(status, "text/plain; charset=utf-8", text.encode() + b"\n")


@asynccontextmanager
async def serving_pages(address: Address, pages: Pages, nursery: trio.Nursery) -> AsyncIterator[Address]:
    """Serve pages by their path, with tasks of `nursery`; give the address, with the port that was chosen.

    Raises `OperationFailed` if nobody can listen there.
    """
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except (OSError, UnicodeError) as error:
        raise OperationFailed(
            f"status: cannot listen on {address} ({getattr(error, 'strerror', None) or error}): "
            "end what uses it, or choose another `status:`"
        ) from error
    places: Places = {}
    scopes = [trio.CancelScope() for _ in listeners]
    for listener, scope in zip(listeners, scopes):
        nursery.start_soon(_accept, listener, pages, places, scope, nursery)
    try:
        yield Address(address.host, listeners[0].socket.getsockname()[1])
    finally:
        for scope in scopes:
            scope.cancel()


async def _accept(
    listener: trio.SocketListener,
    pages: Pages,
    places: Places,
    scope: trio.CancelScope,
    nursery: trio.Nursery,
) -> None:
    async with listener:
        with scope:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    await trio.sleep(0.1)
                    continue
                if len(places) >= MOST_CONNECTIONS:
                    # Who does nothing for longest makes room: a monitor must get in, whatever others hold.
                    longest = min(places, key=places.__getitem__)
                    del places[longest]
                    longest.cancel()
                place = trio.CancelScope()
                places[place] = trio.current_time()
                nursery.start_soon(_connection, stream, pages, places, place)


async def _connection(
    stream: trio.SocketStream, pages: Pages, places: Places, place: trio.CancelScope
) -> None:
    ends = trio.current_time() + _CONNECTION_SECONDS
    try:
        with place:
            async with stream:
                http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
                try:
                    while await _exchange(http, stream, pages) and trio.current_time() < ends:
                        http.start_next_cycle()
                        if place in places:
                            places[place] = trio.current_time()
                except (
                    trio.BrokenResourceError,
                    trio.ClosedResourceError,
                    trio.TooSlowError,
                    h11.LocalProtocolError,
                ):
                    # It hung up, or reads too slowly.
                    pass
    finally:
        places.pop(place, None)


async def _exchange(http: h11.Connection, stream: trio.SocketStream, pages: Pages) -> bool:
    """Answer one request; return whether another may follow."""
    try:
        with trio.fail_after(_REQUEST_SECONDS):
            request = await _request(http, stream)
    except h11.RemoteProtocolError as error:
        if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await _respond(http, stream, text_page("this is no HTTP request", error.error_status_hint), False)
        return False
    if request is None:
        return False
    await _respond(http, stream, *_answer(request, pages))
    return http.our_state is h11.DONE and http.their_state is h11.DONE


async def _request(http: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """Return the next request with its body read away, or None when none comes."""
    request: h11.Request | None = None
    body = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(_READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += len(event.data)
            if body > _LONGEST_BODY:
                raise h11.RemoteProtocolError("too long", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _answer(request: h11.Request, pages: Pages) -> tuple[Page, bool]:
    """Return the page, and whether the request was HEAD: then only its head is sent."""
    head = request.method == b"HEAD"
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    page = pages.get(path)
    if page is None:
        return text_page(f"there is no such page; there are {' '.join(pages)}", 404), head
    if request.method not in (b"GET", b"HEAD"):
        return text_page("only GET and HEAD", 405), head
    try:
        return page(), head
    except Exception as error:
        # A bug of ours stays one request's: whoever looks after a peer must not end it.
        logger.exception("bug: the page %s failed", path)
        return text_page(f"a bug: {type(error).__name__}; the peer's log says more", 500), head


async def _respond(http: h11.Connection, stream: trio.SocketStream, page: Page, head: bool) -> None:
    headers = [
        ("content-type", page.content_type),
        ("content-length", str(len(page.body))),
        ("cache-control", "no-store"),
    ]
    if page.status == 405:
        headers.append(("allow", "GET, HEAD"))
    out = http.send(h11.Response(status_code=page.status, headers=headers)) or b""
    if not head:
        out += http.send(h11.Data(data=page.body)) or b""
    out += http.send(h11.EndOfMessage()) or b""
    with trio.fail_after(_SEND_SECONDS):
        await stream.send_all(out)
