"""What does a store remember, and what does a crash take from it?

A disk outlives the boots of its peer. Content is symbolic: a chunk is its hash,
a file its manifest, so nothing heavy is computed; a damaged chunk is one whose
hash is not what it should be. What was written and not yet synced may be lost
by a crash: chunks any of them, entries of the index the latest ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from ringgossip.content.manifest import Manifest
from ringgossip.content.record import ArtifactKey, Record
from ringgossip.protocol.core import Restored
from ringgossip.strategy.bandwidth import Spent


@dataclass(frozen=True, slots=True)
class DiskTimes:
    """How long things take, in seconds, and how much fits, in bytes."""

    read: float = 0.0002
    write: float = 0.0005
    sync: float = 0.004
    bytes_per_second: float | None = 500e6
    sync_interval: float = 1.0  # How long foreign records and chunks may wait for a sync in common.
    capacity: int | None = None


@dataclass(slots=True)
class Holding:
    """A whole, visible copy. `path` says where; a user's own file is never ours to drop."""

    record: Record
    path: str
    of_user: bool
    pinned: bool = False
    synced: bool = False  # A crash cannot take it.


@dataclass(slots=True)
class Partial:
    """A file in progress; bit sets of what is written, and of what is synced too."""

    record: Record
    manifest: Manifest
    have: int = 0
    synced: int = 0


@dataclass(slots=True)
class Disk:
    """One peer's store and the files of its user."""

    times: DiskTimes
    store: bytes = b""
    records: dict[ArtifactKey, Record] = field(default_factory=dict)
    certificates: dict[bytes, None] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    marks: dict[tuple[ArtifactKey, str], int] = field(default_factory=dict)
    manifests: dict[bytes, Manifest] = field(default_factory=dict)
    holdings: dict[tuple[ArtifactKey, int], Holding] = field(default_factory=dict)
    partials: dict[bytes, Partial] = field(default_factory=dict)
    reserved: dict[bytes, int] = field(default_factory=dict)
    user_files: dict[str, bytes] = field(default_factory=dict)  # path -> root of what the user wrote
    damaged: dict[tuple[bytes, int], bytes] = field(default_factory=dict)  # (root, index) -> the hash it has
    lost: dict[tuple[ArtifactKey, int], None] = field(default_factory=dict)  # copies that faults took
    tearing: bool = False  # The next crash leaves chunks that are there in part.
    lying: bool = False  # It says that it has synced, and has not.
    trouble: str | None = None  # Every write fails with this reason while it is set.
    unreadable: bool = False  # And so does every read.
    boots: int = 0
    _by_root: dict[bytes, dict[tuple[ArtifactKey, int], Holding]] = field(default_factory=dict)
    _by_key: dict[ArtifactKey, dict[int, Holding]] = field(default_factory=dict)
    _staged: dict[bytes, tuple[str, bool]] = field(default_factory=dict)
    _places: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    _journal: list[Callable[[], object]] = field(default_factory=list)  # undoes the unsynced, oldest first

    # --- starting, syncing, crashing ---------------------------------------------------

    def open(self, generator: Random) -> Restored:
        """Return what the store remembers; a store that does not exist yet is born."""
        fresh = not self.store
        if fresh:
            self.store = generator.getrandbits(64).to_bytes(8, "big")
        self.boots += 1
        self.reserved.clear()
        held = [self.holdings[version] for version in sorted(self.holdings)]
        paths = {(*holding.record.key, holding.record.sequence): holding.path for holding in held}
        return Restored(
            self.store,
            fresh,
            tuple(self.records.values()),
            tuple(self.certificates),
            tuple(holding.record for holding in held),
            paths,
            tuple((key, mark, sequence) for (key, mark), sequence in self.marks.items()),
            self.spent,
        )

    def sync(self) -> None:
        """Make everything written so far last."""
        if self.lying:
            return
        if self._journal:
            for holding in self.holdings.values():
                holding.synced = True
        self._journal.clear()
        for partial in self.partials.values():
            partial.synced = partial.have

    @property
    def unsynced(self) -> bool:
        """Whether a crash could take something."""
        return bool(self._journal) or any(part.have != part.synced for part in self.partials.values())

    def crash(self, generator: Random, *, lose_unsynced: bool) -> None:
        """Lose some of what was not synced: of chunks any, of the index the latest."""
        self._staged.clear()
        if lose_unsynced:
            kept = int(generator.random() * (len(self._journal) + 1))
            for undo in reversed(self._journal[kept:]):
                undo()
            for partial in self.partials.values():
                loose = partial.have & ~partial.synced
                gone = loose & generator.getrandbits(max(1, loose.bit_length()))
                if not self.tearing:
                    partial.have &= ~gone
                for index in range(gone.bit_length() if self.tearing else 0):
                    if gone >> index & 1:
                        self.damaged[partial.record.root, index] = b"torn".ljust(32, b"\0")
        self.lying = False
        self._hash_again()
        self.sync()

    def _hash_again(self) -> None:
        """What is found after a crash counts only if it is whole, and then it is as good as synced."""
        for root, partial in self.partials.items():
            for index in range(partial.manifest.chunk_count):
                if partial.have >> index & 1 and self.damaged.pop((root, index), None) is not None:
                    partial.have &= ~(1 << index)

    def wipe(self) -> None:
        """Lose everything of ours; the user's files are elsewhere."""
        self.lost.update(dict.fromkeys(self.holdings))
        index = (self.records, self.certificates, self.marks)
        for table in (*index, self.manifests, self.holdings, self.partials):
            table.clear()
        for more in (self.reserved, self._staged, self._places, self.damaged, self._by_root, self._by_key):
            more.clear()
        self._journal.clear()
        self.store = b""

    # --- index ---------------------------------------------------------------------------

    def stage(self, manifest: Manifest, path: str, of_user: bool) -> None:
        """Content of our own that is about to be published."""
        self.manifests[manifest.root] = manifest
        self._staged[manifest.root] = (path, of_user)
        if of_user:
            self.user_files[path] = manifest.root

    def put_record(self, record: Record, *, ours: bool) -> None:
        """Write a record; with one of our own its staged content becomes a holding, and all is synced."""
        key, before = record.key, self.records.get(record.key)
        if before is None or before.sequence <= record.sequence:
            self.records[key] = record
            self._journal.append(lambda: self._restore_record(key, before))
        if not ours:
            return
        staged = None if record.withdrawn else self._staged.pop(record.root, None)
        if staged is None and not record.withdrawn:
            earlier = self._holding_of(record.root)
            staged = (earlier.path, earlier.of_user) if earlier is not None else None
        if staged is not None:
            self._hold(Holding(record, *staged))
        self.sync()

    def _restore_record(self, key: ArtifactKey, before: Record | None) -> None:
        if before is None:
            self.records.pop(key, None)
        else:
            self.records[key] = before

    def put_certificate(self, der: bytes) -> None:
        """Keep a certificate."""
        if der not in self.certificates:
            self.certificates[der] = None
            self._journal.append(lambda: self.certificates.pop(der, None))

    def put_mark(self, key: ArtifactKey, mark: str, sequence: int) -> None:
        """Keep what was decided about an artifact; sequence 0 forgets it."""
        before = self.marks.get((key, mark), 0)
        self._journal.append(lambda: self._set_mark(key, mark, before))
        self._set_mark(key, mark, sequence)

    def _set_mark(self, key: ArtifactKey, mark: str, sequence: int) -> None:
        if sequence:
            self.marks[key, mark] = sequence
        else:
            self.marks.pop((key, mark), None)

    # --- space -----------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes taken by our copies and set aside for transfers."""
        ours = {held.record.root: held.record.size for held in self.holdings.values() if not held.of_user}
        return sum(ours.values()) + sum(self.reserved.values())

    def reserve(self, record: Record) -> str | None:
        """Set space aside for a whole new file; return why not."""
        if self.trouble is not None:
            return self.trouble
        capacity = self.times.capacity
        if capacity is not None and self.used + record.size > capacity:
            return "no space left on the disk"
        self.reserved[record.root] = record.size
        return None

    # --- files in progress -------------------------------------------------------------------

    def begin(self, record: Record, manifest: Manifest) -> tuple[int, int]:
        """Open or resume a partial file; return what is there and what can be copied from elsewhere."""
        partial = self.partials.get(record.root)
        if partial is None:
            partial = self.partials[record.root] = Partial(record, manifest)
        self.manifests[record.root] = manifest
        copying = 0
        for index in range(manifest.chunk_count):
            place = self._places.get(manifest.chunk_hash(index))
            # The same content may be here under another name.
            elsewhere = place is not None and (place[0] != record.root or self.has(record.root))
            if elsewhere and not partial.have >> index & 1:
                copying |= 1 << index
        return partial.have, copying

    def copy(self, root: bytes, copying: int) -> tuple[int, int]:
        """Copy chunks that lie elsewhere in the store; return which came over and which could not be read."""
        partial = self.partials.get(root)
        copied = failed = 0
        if partial is None or self.trouble is not None:
            return 0, copying
        for index in range(partial.manifest.chunk_count):
            if copying >> index & 1:
                hash_ = partial.manifest.chunk_hash(index)
                place = self._places.get(hash_)
                if place is not None and self.read(*place) == hash_:
                    copied |= 1 << index
                else:
                    failed |= 1 << index
        partial.have |= copied
        return copied, failed

    def write(self, root: bytes, index: int) -> str | None:
        """Write one verified chunk to its place; return why not."""
        partial = self.partials.get(root)
        if self.trouble is not None:
            return self.trouble
        if partial is None:
            return "the partial file was closed"
        partial.have |= 1 << index
        self.damaged.pop((root, index), None)
        return None

    def abandon(self, root: bytes, keep: bool) -> None:
        """Give the reservation back; keep what is verified if asked."""
        self.reserved.pop(root, None)
        if not keep:
            self.partials.pop(root, None)

    def finalise(self, record: Record, keep_predecessor: bool) -> tuple[str | None, str]:
        """Make a whole version visible, synced; return its path, or None and why not."""
        if self.trouble is not None:
            return None, self.trouble
        partial = self.partials.get(record.root)
        if partial is None and self._holding_of(record.root) is None:
            return None, "there is no such file in progress"
        if partial is not None and partial.have != (1 << partial.manifest.chunk_count) - 1:
            return None, "the file is not whole"
        self.partials.pop(record.root, None)
        self.reserved.pop(record.root, None)
        path = f"replicas/{record.kind}/{record.origin}/{record.name}"
        if self.newest(record.key) > record.sequence:
            # It took longer than a newer one, which stays where it is.
            path += f"@{record.sequence}"
        for holding in self._by_key.get(record.key, {}).values():
            if holding.path == path:
                holding.path = f"{path}@{holding.record.sequence}"
                holding.pinned = keep_predecessor
        self._hold(Holding(record, path, of_user=False))
        self.sync()
        return path, ""

    # --- whole copies ------------------------------------------------------------------------

    def _hold(self, holding: Holding) -> None:
        record = holding.record
        self._journal.append(lambda: self.lose(record))
        self.holdings[record.key, record.sequence] = holding
        self._by_root.setdefault(record.root, {})[record.key, record.sequence] = holding
        self._by_key.setdefault(record.key, {})[record.sequence] = holding
        manifest = self.manifests[record.root]
        for index in range(manifest.chunk_count):
            self._places[manifest.chunk_hash(index)] = (record.root, index)

    def _holding_of(self, root: bytes) -> Holding | None:
        for holding in self._by_root.get(root, {}).values():
            return holding
        return None

    def drop(self, record: Record) -> None:
        """Delete a superseded version; the user's own file stays where it is."""
        self._remove(record)
        if self._holding_of(record.root) is not None or record.root in self.partials:
            return
        manifest = self.manifests.pop(record.root, None)
        if manifest is None:
            return
        for index in range(manifest.chunk_count):
            hash_ = manifest.chunk_hash(index)
            if self._places.get(hash_, (b"",))[0] == record.root:
                del self._places[hash_]

    def lose(self, record: Record) -> None:
        """A held copy turned out to be damaged: it is moved aside."""
        self.lost[record.key, record.sequence] = None
        self._remove(record)

    def _remove(self, record: Record) -> None:
        version = (record.key, record.sequence)
        if self.holdings.pop(version, None) is not None:
            del self._by_root[record.root][version]
            del self._by_key[record.key][record.sequence]

    def lose_root(self, root: bytes) -> list[Record]:
        """All copies of this content turned out to be damaged; return what they were copies of."""
        records = [holding.record for holding in self._by_root.get(root, {}).values()]
        for record in records:
            self.lose(record)
        return records

    def newest(self, key: ArtifactKey) -> int:
        """Return the highest sequence of an artifact that is here whole; 0 if none is."""
        return max(self._by_key.get(key, ()), default=0)

    def has(self, root: bytes) -> bool:
        """Tell whether a whole copy of this content is here, under whatever name."""
        return bool(self._by_root.get(root))

    def holds(self, key: ArtifactKey, sequence: int) -> bool:
        """Tell whether a whole, synced copy of this or a later version is here."""
        return any(number >= sequence for number in self._by_key.get(key, ()))

    def holds_synced(self, key: ArtifactKey, sequence: int) -> bool:
        """Tell whether no crash could take this or a later version from here."""
        versions = self._by_key.get(key, {})
        return any(number >= sequence and holding.synced for number, holding in versions.items())

    def read(self, root: bytes, index: int) -> bytes | None:
        """Return the hash of what lies at a chunk's place; None if there is nothing, or it cannot be read."""
        manifest = self.manifests.get(root)
        if manifest is None or index >= manifest.chunk_count or self.unreadable:
            return None
        partial = self.partials.get(root)
        if self._holding_of(root) is None and (partial is None or not partial.have >> index & 1):
            return None
        return self.damaged.get((root, index)) or manifest.chunk_hash(index)

    def belongs_to_user(self, root: bytes) -> bool:
        """Tell whether this content is read from the user's own file."""
        holding = self._holding_of(root)
        return holding is not None and holding.of_user
