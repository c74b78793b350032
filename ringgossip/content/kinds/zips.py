"""Is this zip archive whole? Its directory, its members' places and their checksums.

npz files and what torch.save writes are zips. Nothing is unpickled, nothing is
unpacked to disk, and every number an archive states is compared with a limit
before memory is taken for it. The standard `zipfile` reads directories of any
length and opens archives with bytes missing in front, so this is read by hand.

Limits: 100,000 members, 32 MiB of directory, 16 GiB inflated (deflated members
beyond that are named as unchecked; stored ones cannot be larger than the file).
Source: PKWARE APPNOTE 6.3.9, sections 4.3 to 4.5.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from ringgossip.errors import ArtifactRefused

MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 32 << 20
MAX_INFLATED_BYTES = 16 << 30
STEP_BYTES = 1 << 20

STORED = 0
DEFLATED = 8

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: where it lies and what it must be. Sizes in bytes."""

    name: str
    method: int
    encrypted: bool
    crc: int
    stored_size: int
    size: int
    data_offset: int

    @property
    def readable(self) -> bool:
        """Whether we know how to read its bytes back."""
        return not self.encrypted and self.method in (STORED, DEFLATED)


def read_directory(file: BinaryIO, size: int) -> list[Member]:
    """Return the members of the zip in `file`, which has `size` bytes, in the order of their places.

    Raises `ArtifactRefused` with what is missing, overlapping or beyond a limit.
    """
    count, length, start = _find_directory(file, size)
    if count > MAX_MEMBERS:
        raise ArtifactRefused(f"the zip has {count} members, more than {MAX_MEMBERS}")
    if length > MAX_DIRECTORY_BYTES:
        raise ArtifactRefused(f"the zip's directory has {length} bytes, more than {MAX_DIRECTORY_BYTES}")
    file.seek(start)
    directory = file.read(length)
    entries = []
    at = 0
    while at < len(directory):
        entry, at = _read_entry(directory, at)
        entries.append(entry)
        if len(entries) > count:
            break
    if len(entries) != count:
        raise ArtifactRefused(f"the zip's directory lists {len(entries)} members or more and states {count}")
    return _place(file, sorted(entries, key=lambda entry: entry.data_offset), start)


def read_head(file: BinaryIO, member: Member, length: int) -> bytes:
    """Return at most the first `length` bytes of what `member` holds."""
    file.seek(member.data_offset)
    stored = file.read(min(length, member.stored_size))
    if member.method == STORED:
        return stored
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, length)
    except zlib.error as problem:
        raise ArtifactRefused(f"member {member.name!r} is damaged: {problem}") from None


def check_crc(file: BinaryIO, member: Member) -> None:
    """Read `member` wholly, in steps of 1 MiB; raise `ArtifactRefused` unless size and CRC are as stated."""
    file.seek(member.data_offset)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    left, produced, crc = member.stored_size, 0, 0
    while left and produced <= member.size:
        piece = file.read(min(left, STEP_BYTES))
        if not piece:
            raise ArtifactRefused(f"member {member.name!r} is cut short")
        left -= len(piece)
        if inflate is None:
            crc, produced = zlib.crc32(piece, crc), produced + len(piece)
            continue
        try:
            while piece and produced <= member.size:
                plain = inflate.decompress(piece, STEP_BYTES)
                crc, produced = zlib.crc32(plain, crc), produced + len(plain)
                piece = inflate.unconsumed_tail
        except zlib.error as problem:
            raise ArtifactRefused(f"member {member.name!r} is damaged: {problem}") from None
    while inflate is not None and not inflate.eof and produced <= member.size:
        # The last bytes may wait inside zlib after its input is used up.
        plain = inflate.decompress(b"", STEP_BYTES)
        if not plain:
            raise ArtifactRefused(f"member {member.name!r} is cut short")
        crc, produced = zlib.crc32(plain, crc), produced + len(plain)
    if produced != member.size:
        raise ArtifactRefused(f"member {member.name!r} does not have the {member.size} bytes it states")
    if crc != member.crc:
        raise ArtifactRefused(f"member {member.name!r} is damaged: its CRC does not match")


def check_members(file: BinaryIO, members: list[Member]) -> tuple[str, ...]:
    """Check the CRC of every member; return one warning if some could not be checked.

    Raises `ArtifactRefused` for the first that is damaged.
    """
    inflated = 0
    unchecked = []
    for member in members:
        if member.method == DEFLATED:
            inflated += member.size
        if not member.readable or (member.method == DEFLATED and inflated > MAX_INFLATED_BYTES):
            unchecked.append(member.name)
        else:
            check_crc(file, member)
    if not unchecked:
        return ()
    return (
        f"{len(unchecked)} members were not checked (encrypted, an unknown compression, "
        f"or beyond {MAX_INFLATED_BYTES >> 30} GiB inflated), the first is {unchecked[0][:80]!r}",
    )


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return how many members the archive states, and its directory's length and offset."""
    tail_start = max(0, size - _END.size - 65535)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    at = len(tail) - _END.size
    while at >= 0:
        at = tail.rfind(b"PK\x05\x06", 0, at + 4)
        # The comment is the last thing in the file; a signature inside a comment does not fit.
        if at >= 0 and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            break
        at -= 1
    if at < 0:
        raise ArtifactRefused("the zip has no end: it is cut short or still being written")
    _, disk, directory_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start):
        end, disk, directory_disk, here, count, length, start = _read_end64(file, end)
    if disk or directory_disk or here != count:
        raise ArtifactRefused("the zip is one part of several")
    if start + length != end:
        raise ArtifactRefused("the zip's directory is not where its end says: bytes were lost or added")
    return count, length, start


def _read_end64(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int, int]:
    """Read the 64-bit end record that a locator before `end` points to."""
    broken = "the zip's 64-bit end record is missing or damaged"
    if end < _LOCATOR.size + _END64.size:
        raise ArtifactRefused(broken)
    file.seek(end - _LOCATOR.size)
    signature, _, at, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature != b"PK\x06\x07" or at > end - _LOCATOR.size - _END64.size:
        raise ArtifactRefused(broken)
    file.seek(at)
    record = _END64.unpack(file.read(_END64.size))
    disk, directory_disk, here, count, length, start = record[4:]
    if record[0] != b"PK\x06\x06":
        raise ArtifactRefused(broken)
    return at, disk, directory_disk, here, count, length, start


def _read_entry(directory: bytes, at: int) -> tuple[Member, int]:
    """Return the entry at `at`, with its local header's place for its data's, and where the next begins."""
    broken = "the zip's directory is damaged"
    if at + _ENTRY.size > len(directory):
        raise ArtifactRefused(broken)
    fields = _ENTRY.unpack_from(directory, at)
    flags, method, crc, stored_size, size = fields[5], fields[6], fields[9], fields[10], fields[11]
    name_length, extra_length, comment_length, offset = fields[12], fields[13], fields[14], fields[18]
    name_at = at + _ENTRY.size
    following = name_at + name_length + extra_length + comment_length
    if fields[0] != b"PK\x01\x02" or following > len(directory):
        raise ArtifactRefused(broken)
    raw_name = directory[name_at : name_at + name_length]
    name = raw_name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
    extra = directory[name_at + name_length : name_at + name_length + extra_length]
    if 0xFFFFFFFF in (size, stored_size, offset):
        wide = _wide_fields(extra)
        try:
            size = wide.pop(0) if size == 0xFFFFFFFF else size
            stored_size = wide.pop(0) if stored_size == 0xFFFFFFFF else stored_size
            offset = wide.pop(0) if offset == 0xFFFFFFFF else offset
        except IndexError:
            raise ArtifactRefused(broken) from None
    if method == STORED and not flags & 1 and size != stored_size:
        raise ArtifactRefused(f"member {name[:80]!r} is stored with two sizes")
    return Member(name, method, bool(flags & 1), crc, stored_size, size, offset), following


def _wide_fields(extra: bytes) -> list[int]:
    """Return the 64-bit numbers of an entry's extra field, in their order (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            count = min(length, len(extra) - at - 4) // 8
            return list(struct.unpack_from(f"<{count}Q", extra, at + 4))
        at += 4 + length
    return []


def _place(file: BinaryIO, entries: list[Member], directory_start: int) -> list[Member]:
    """Return the entries with their data's places, read from the local headers; none may overlap."""
    placed = []
    free_from = 0
    for entry in entries:
        offset = entry.data_offset
        if offset < free_from or offset + _LOCAL.size > directory_start:
            raise ArtifactRefused(f"member {entry.name[:80]!r} overlaps another or lies outside the archive")
        file.seek(offset)
        local = _LOCAL.unpack(file.read(_LOCAL.size))
        data = offset + _LOCAL.size + local[9] + local[10]
        free_from = data + entry.stored_size
        if local[0] != b"PK\x03\x04":
            raise ArtifactRefused(f"member {entry.name[:80]!r} is not where the directory says")
        if free_from > directory_start:
            raise ArtifactRefused(f"member {entry.name[:80]!r} is cut short")
        placed.append(
            Member(entry.name, entry.method, entry.encrypted, entry.crc, entry.stored_size, entry.size, data)
        )
    return placed
