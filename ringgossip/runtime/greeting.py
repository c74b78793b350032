"""Is whoever is at the other end of a connection one of us? TLS first, then the gossip key.

Both ways in take a bounded time, and nothing that is said before their end
reaches the core. The reasons are for a person who reads a log: what is wrong,
and what to do about it, on whichever side it is.
"""

import secrets
import socket
import ssl
from dataclasses import dataclass

import trio

from ringgossip.errors import PeerMisbehaved
from ringgossip.identity.certificate import NodeCertificate
from ringgossip.identity.credentials import Credentials, why_refused
from ringgossip.runtime.tls import TlsStream
from ringgossip.wire.codec import UnknownMessage, decode, encode
from ringgossip.wire.frames import MAX_FRAME_BYTES, FrameReader, pack_frame
from ringgossip.wire.messages import Message
from ringgossip.wire.proof import NONCE_BYTES, KeysUnknown, KeyTalk, NoSharedKey

HANDSHAKE_TIMEOUT = 5.0
_MOST_FIRST_WORDS = 1024  # bytes of a frame, until the other side has proven itself


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no link; `stranger` if the other side is none of our cluster, or takes us for one."""

    reason: str
    stranger: bool
    keyless: NodeCertificate | None = None  # its certificate is good; we share no gossip key


@dataclass(frozen=True, slots=True)
class Greeted:
    """A verified connection, and what of its stream was received already."""

    stream: TlsStream
    reader: FrameReader
    certificate: NodeCertificate


class Greeter:
    """Opens connections that others may be at the end of."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def greet(self, sock: socket.socket, server: bool) -> Greeted | Refused:
        """Return the connection and whose it is, or why there is none: `sock` is closed then."""
        try:
            stream = TlsStream(sock, self._credentials.ssl_context(server), server)
        except (OSError, ValueError) as error:
            sock.close()
            return Refused(why_refused(error), stranger=False)
        greeted: Greeted | Refused | None = None
        try:
            greeted = await self._shake_hands(stream)
            if isinstance(greeted, Greeted):
                greeted = await self._exchange_proofs(greeted, server)
            return greeted
        finally:
            if not isinstance(greeted, Greeted):
                stream.close()

    async def _shake_hands(self, stream: TlsStream) -> Greeted | Refused:
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                await stream.handshake()
            certificate = self._credentials.peer_certificate(stream.socket)
        except trio.TooSlowError:
            return Refused("it did not complete the TLS handshake in time", stranger=False)
        except PeerMisbehaved as error:
            return Refused(str(error), stranger=True)
        except OSError as error:
            return Refused(why_refused(error), _is_verdict(error))
        return Greeted(stream, FrameReader(_MOST_FIRST_WORDS), certificate)

    async def _exchange_proofs(self, greeted: Greeted, server: bool) -> Greeted | Refused:
        """Prove a shared gossip key to each other.

        In TLS 1.3 the dialling side is done before the other has looked at its
        certificate; whoever answers the offer has accepted it.
        """
        ours, theirs = self._credentials.certificate, greeted.certificate
        nonce = secrets.token_bytes(NONCE_BYTES)
        cluster, keys = self._credentials.cluster, self._credentials.gossip_keys
        talk = KeyTalk(cluster, keys, ours.der, theirs.der, nonce)
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT):
                if server:
                    await _say(greeted, talk.prove(await _hear(greeted)))
                    talk.check(await _hear(greeted))
                else:
                    await _say(greeted, talk.offer())
                    await _say(greeted, talk.answer(await _hear(greeted)))
        except NoSharedKey:
            with trio.move_on_after(HANDSHAKE_TIMEOUT):
                await _part(greeted)
            return Refused(_keyless(theirs.name, server), stranger=True, keyless=theirs)
        except trio.TooSlowError:
            return Refused("it said nothing after the TLS handshake", stranger=False)
        except PeerMisbehaved as error:
            return Refused(str(error), stranger=True)
        except _Ended:
            return Refused("it closed the link before its first word", stranger=False)
        except OSError as error:
            return Refused(why_refused(error), _is_verdict(error))
        greeted.reader.limit = MAX_FRAME_BYTES
        return greeted


class _Ended(Exception):
    """The other side closed the connection."""


async def _part(greeted: Greeted) -> None:
    """Say why this ends."""
    try:
        await _say(greeted, KeysUnknown())
        greeted.stream.say_goodbye()
    except OSError:
        pass  # It knows already, or is gone.


async def _say(greeted: Greeted, message: Message) -> None:
    await greeted.stream.send_all(pack_frame(encode(message)))


async def _hear(greeted: Greeted) -> Message:
    reader = greeted.reader
    while (frame := reader.next_frame()) is None:
        count = await greeted.stream.receive_into(reader.writable())
        if not count:
            raise _Ended
        reader.received(count)
    message = decode(frame)
    if isinstance(message, UnknownMessage):
        raise PeerMisbehaved("began with a message that is not known here")
    return message


def _keyless(name: str, server: bool) -> str:
    """Return why, for the log of whoever refuses (`server`), or is refused."""
    if server:
        return (
            f"{name!r} has a certificate of this cluster, but none of our gossip keys: copy gossip.keys from "
            "the credentials of a node that is well to its own, and restart it"
        )
    return (
        f"{name!r} accepts none of our gossip keys: copy gossip.keys from the credentials of a node that is "
        "well to ours, and restart this peer"
    )


def _is_verdict(error: OSError) -> bool:
    """Tell whether TLS judged the other side, rather than the connection having ended."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
