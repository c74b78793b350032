"""Is this npz what it says? A whole zip whose members are whole numpy arrays.

Headers are read by hand with `ast.literal_eval` on at most 10,000 bytes, as
numpy itself allows; numpy is not needed and nothing is unpickled.
Source: numpy.lib.format, versions 1.0 to 3.0.
"""

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ringgossip.content.kinds.sources import Inspection, open_steady
from ringgossip.content.kinds.zips import DEFLATED, STORED, Member, check_members, read_directory, read_head
from ringgossip.errors import ArtifactRefused

MAX_HEADER_BYTES = 10_000
MAX_DIMENSIONS = 64
MAX_DEPTH = 8
# After arrival every chunk is proven already: look at a few members, not at 100,000.
ARRIVAL_HEADERS = 64

_TYPE = re.compile(r"[<>|=]?([?bBhHiIlLqQefdgFDGSaUVOmMcu])([0-9]{0,9})(\[[^\]]{0,16}\])?\Z", re.ASCII)
_BYTES_OF_LETTER = {
    "?": 1, "b": 1, "B": 1, "c": 1, "h": 2, "H": 2, "e": 2, "i": 4, "I": 4, "f": 4, "l": 8, "L": 8, "q": 8,
    "Q": 8, "d": 8, "F": 8, "m": 8, "M": 8, "D": 16, "g": 16, "G": 32, "S": 0, "a": 0, "U": 0, "V": 0, "u": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What one array says of itself. Sizes in bytes; `item_bytes` is None for pickled Python objects."""

    shape: tuple[int, ...]
    item_bytes: int | None
    data_offset: int

    @property
    def total_bytes(self) -> int | None:
        """How long the member must be, or None if only unpickling could tell."""
        return None if self.item_bytes is None else self.data_offset + self.item_bytes * math.prod(self.shape)


def inspect_source(path: Path) -> Inspection:
    """Check `path` wholly, CRCs included; memory stays the same however long it is.

    Raises `ArtifactRefused` with the reason when it is torn, damaged or no npz.
    """
    with open_steady(path) as (file, size):
        try:
            members = read_directory(file, size)
            warnings = [*_check_arrays(file, members, limit=len(members)), *check_members(file, members)]
        except ArtifactRefused as refusal:
            raise ArtifactRefused(f"{path} is no whole npz: {refusal}") from None
    return Inspection({"arrays": len(members)}, tuple(warnings))


def check_arrival(path: Path) -> str | None:
    """Return why an arrived file is no npz, or None. Structure only: its chunks were proven."""
    try:
        with open_steady(path) as (file, size):
            _check_arrays(file, read_directory(file, size), limit=ARRIVAL_HEADERS)
    except ArtifactRefused as refusal:
        return str(refusal)
    return None


def parse_header(head: bytes) -> ArrayHeader:
    """Read the header at the start of an array's bytes; `head` may hold more or less than all of them.

    Raises `ArtifactRefused`.
    """
    if head[:6] != b"\x93NUMPY" or len(head) < 10:
        raise ArtifactRefused("it does not begin like a numpy array")
    version = head[6]
    if version not in (1, 2, 3):
        raise ArtifactRefused(f"its numpy format {version} is unknown")
    prefix = 10 if version == 1 else 12
    length = int.from_bytes(head[8:prefix], "little")
    if length > MAX_HEADER_BYTES:
        raise ArtifactRefused(f"its header has {length} bytes, more than {MAX_HEADER_BYTES}")
    text = head[prefix : prefix + length]
    if len(text) < length:
        raise ArtifactRefused("its header is cut short")
    try:
        said = ast.literal_eval(text.decode("latin-1" if version < 3 else "utf-8").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ArtifactRefused("its header cannot be read") from None
    if not isinstance(said, dict) or set(said) != {"descr", "fortran_order", "shape"}:
        raise ArtifactRefused("its header does not say descr, fortran_order and shape")
    shape = said["shape"]
    if not isinstance(said["fortran_order"], bool) or not _is_shape(shape):
        raise ArtifactRefused("its header has no possible shape")
    return ArrayHeader(shape, _item_bytes(said["descr"], MAX_DEPTH), prefix + length)


def _check_arrays(file: BinaryIO, members: list[Member], limit: int) -> list[str]:
    """Check the headers of the first `limit` arrays against their sizes; return warnings."""
    if not members:
        raise ArtifactRefused("it holds no arrays")
    warnings = []
    if len({member.name for member in members}) < len(members):
        raise ArtifactRefused("two of its arrays have one name")
    for member in members[:limit]:
        if member.encrypted or member.method not in (STORED, DEFLATED):
            raise ArtifactRefused(f"member {member.name[:80]!r} is encrypted or compressed in another way")
        if not member.name.endswith(".npy"):
            warnings.append(f"member {member.name[:80]!r} is no array")
            continue
        try:
            header = parse_header(read_head(file, member, MAX_HEADER_BYTES + 12))
        except ArtifactRefused as refusal:
            raise ArtifactRefused(f"array {member.name[:80]!r}: {refusal}") from None
        if header.total_bytes is None:
            warnings.append(f"array {member.name[:80]!r} holds pickled objects: not opened, size unchecked")
        elif header.total_bytes != member.size:
            raise ArtifactRefused(
                f"array {member.name[:80]!r} has {member.size} bytes, its shape needs {header.total_bytes}"
            )
    # One line per kind of finding would flood a log: a hostile or odd file may have 100,000.
    return warnings if len(warnings) <= 3 else [*warnings[:3], f"and {len(warnings) - 3} more like these"]


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 63 for n in shape)
    )


def _item_bytes(descr: object, depth: int) -> int | None:
    """Return the bytes of one item of a numpy type description, None if it holds Python objects."""
    if isinstance(descr, str):
        match = _TYPE.match(descr)
        if not match:
            raise ArtifactRefused(f"its type {descr[:40]!r} is unknown")
        letter, count, _unit = match.groups()
        if letter == "O":
            return None
        if letter == "U":
            return 4 * int(count or 0)
        return int(count) if count else _BYTES_OF_LETTER[letter]
    if depth and isinstance(descr, tuple) and len(descr) == 2 and _is_shape(descr[1]):
        inner = _item_bytes(descr[0], depth - 1)
        return None if inner is None else inner * math.prod(descr[1])
    if depth and isinstance(descr, list) and all(isinstance(f, tuple) and len(f) in (2, 3) for f in descr):
        total = 0
        for field in descr:
            inner = _item_bytes(tuple(field[1:]) if len(field) == 3 else field[1], depth - 1)
            if inner is None:
                return None
            total += inner
        return total
    raise ArtifactRefused("its type cannot be read")
