"""Which threads does a peer have, and for what? One crew for each class of slow work.

Classes do not wait for each other: a database that is synced for seconds holds
up neither chunks nor records. Threads start when they are first needed.
"""

import os

from ringgossip.runtime.workers import Mailbox, Workers

_LANES = 8


class Crews:
    """All threads of one peer."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.post = mailbox.post
        self._mailbox = mailbox
        cores = os.cpu_count() or 2
        # Reading and proving chunks: hashes release the GIL, so as many as cores, within reason.
        self.readers = Workers("read", max(2, min(4, cores)), mailbox, patient=True)
        self.writers = Workers("write", max(2, min(4, cores)), mailbox, patient=True)
        self.index = Workers("index", 1, mailbox)
        self.signatures = Workers("verify", 1, mailbox)
        self.copiers = Workers("copy", 2, mailbox)
        self.finishers = Workers("finish", 4, mailbox)
        self.publishers = Workers("publish", 2, mailbox)
        self.names = Workers("names", 2, mailbox)
        self.folders = Workers("folders", 1, mailbox)
        self.chores = Workers("chores", 1, mailbox)
        # Reading what others put on a shared disk; that may hang, and nothing else with it.
        self.shared = Workers("shared", 1, mailbox)
        self._of_folders: list[Workers] = []
        # What concerns one content stays in order; what concerns many shares the index's commits.
        self._lanes = [Workers(f"lane{number}", 1, mailbox) for number in range(_LANES)]

    def for_folder(self) -> tuple[Workers, Workers]:
        """Return threads that look through one shared folder, and threads that read what lies in it.

        Its own: it may lie on a file server that does not answer, for which no thread can cease to wait.
        """
        number = len(self._of_folders)
        crews = Workers(f"look{number}", 1, self._mailbox), Workers(f"share{number}", 2, self._mailbox)
        self._of_folders += crews
        return crews

    def lane(self, root: bytes) -> Workers:
        """Return the one thread that does the bookkeeping of this content, in order."""
        return self._lanes[root[0] % _LANES]

    def all(self) -> list[Workers]:
        """Return every crew."""
        return [
            self.readers,
            self.writers,
            self.index,
            self.signatures,
            self.copiers,
            self.finishers,
            self.publishers,
            self.names,
            self.folders,
            self.chores,
            self.shared,
            *self._of_folders,
            *self._lanes,
        ]

    def close(self) -> None:
        """Let all threads end after what they are doing."""
        for workers in self.all():
            workers.close()

    def join(self, seconds: float) -> None:
        """Wait for them, at most so long for each; blocks."""
        for workers in self.all():
            workers.join(seconds)
