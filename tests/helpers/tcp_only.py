"""A way to a peer that lets TCP through and swallows UDP, as many hosting providers do. No root needed."""

import contextlib
import selectors
import socket
import threading

_BLOCK = 64 * 1024


class TcpOnly:
    """Forwards connections from `host`:`port` to `target`; datagrams to it vanish, and are counted."""

    def __init__(self, host: str, port: int, target: tuple[str, int]) -> None:
        self.swallowed = 0
        self._target = target
        self._tcp = socket.create_server((host, port))
        self._udp = socket.socket(type=socket.SOCK_DGRAM)
        self._udp.bind((host, port))
        self._open = True
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._accept, self._swallow)]
        for thread in self._threads:
            thread.start()

    def _accept(self) -> None:
        self._tcp.settimeout(0.2)
        while self._open:
            with contextlib.suppress(OSError):
                near, _ = self._tcp.accept()
                threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _swallow(self) -> None:
        self._udp.settimeout(0.2)
        while self._open:
            with contextlib.suppress(OSError):
                self._udp.recv(2048)
                self.swallowed += 1

    def _forward(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target, timeout=5) as far:
            near.settimeout(10)
            far.settimeout(10)
            selector = selectors.DefaultSelector()
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while self._open:
                for key, _ in selector.select(0.2):
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(_BLOCK)
                    if not data:
                        return
                    key.data.sendall(data)

    def close(self) -> None:
        """Stop; connections end too."""
        self._open = False
        for thread in self._threads:
            thread.join()
        self._tcp.close()
        self._udp.close()
