"""Do two sets of (key hash, value hash) agree, and if not, below which prefixes?

A Merkle tree over the bits of the key hash, 16 children a node. What a subtree
hashes to depends only on the entries below its prefix, never on the order in
which they came:

    no entries                 32 zero bytes
    at most LEAF_ENTRIES       hash("leaf", entries in order of their keys)
    more                       hash("node", the hashes of its 16 children)
                               hash("half node", the hashes of its 4 children)

so depth grows with the set and shrinks with it. A half node is one of the four
quarters of a node: prefixes have an even number of bits, those between two
levels of the tree are hashed when asked for. Leaves hold up to 32 entries as
one run of bytes, which is what keeps a million keys near 80 bytes each; hashes
are cached and recomputed only along the paths that changed.

`walk.py` finds where two such trees differ.
Source: Merkle 1987; Dynamo (DeCandia et al. 2007), section 4.7; targets.md section 2.
"""

from collections.abc import Iterator
from typing import Final

from ringgossip.content.hashing import HASH_BYTES, hash_tagged

LEAF_ENTRIES: Final = 32
ENTRY_BYTES: Final = 2 * HASH_BYTES
ROOT_WIRE_BYTES: Final = 8
# Longest prefix that may be asked for; nobody can make more than a handful of keys share it.
MAX_BITS: Final = 64

_LEAF_CONTEXT: Final = "ringgossip digest leaf"
_NODE_CONTEXT: Final = "ringgossip digest node"
_HALF_CONTEXT: Final = "ringgossip digest half node"
_EMPTY: Final = bytes(HASH_BYTES)


class _Leaf:
    """At most `LEAF_ENTRIES` entries, key hash and value hash joined, in order of their keys."""

    __slots__ = ("entries", "hash")

    def __init__(self, entries: bytes) -> None:
        self.entries = entries
        self.hash: bytes | None = None


class _Node:
    """More than `LEAF_ENTRIES` entries, by the next four bits of their keys."""

    __slots__ = ("children", "count", "hash")

    def __init__(self, children: list["_Tree"], count: int) -> None:
        self.children = children
        self.count = count
        self.hash: bytes | None = None


_Tree = _Leaf | _Node | None


class Digest:
    """A set of (key hash, value hash), one value a key, that can prove what it holds."""

    __slots__ = ("_top",)

    def __init__(self) -> None:
        self._top: _Tree = None

    def __len__(self) -> int:
        return _count(self._top)

    @property
    def whole_root(self) -> bytes:
        """The hash of the whole set, 32 bytes."""
        return _hash(self._top)

    @property
    def root(self) -> bytes:
        """The first 8 bytes of the whole root: what rides on probes."""
        return self.whole_root[:ROOT_WIRE_BYTES]

    def get(self, key_hash: bytes) -> bytes | None:
        """Return the value hash of a key, None when the key is not in the set."""
        leaf = self._top
        depth = 0
        while type(leaf) is _Node:
            leaf = leaf.children[_nibble(key_hash, depth)]
            depth += 1
        if leaf is None:
            return None
        entries = leaf.entries  # type: ignore[union-attr]
        at = _position(entries, key_hash)
        if entries[at : at + HASH_BYTES] != key_hash:
            return None
        return entries[at + HASH_BYTES : at + ENTRY_BYTES]

    def insert(self, key_hash: bytes, value_hash: bytes) -> None:
        """Add a key, or give it another value; both are 32 bytes."""
        if len(key_hash) != HASH_BYTES or len(value_hash) != HASH_BYTES:
            raise ValueError("keys and values of a digest are hashes of 32 bytes")
        path, leaf = self._descend(key_hash)
        entries = leaf.entries if leaf is not None else b""
        at = _position(entries, key_hash)
        known = entries[at : at + HASH_BYTES] == key_hash
        after = at + ENTRY_BYTES if known else at
        if known and entries[at + HASH_BYTES : after] == value_hash:
            return
        grown = _grow(b"".join((entries[:at], key_hash, value_hash, entries[after:])), len(path))
        for node in path:
            node.hash = None
            node.count += not known
        self._replace(path, key_hash, grown)

    def remove(self, key_hash: bytes) -> bool:
        """Take a key out; return whether it was there."""
        path, leaf = self._descend(key_hash)
        entries = leaf.entries if leaf is not None else b""
        at = _position(entries, key_hash)
        if entries[at : at + HASH_BYTES] != key_hash:
            return False
        rest = entries[:at] + entries[at + ENTRY_BYTES :]
        for node in path:
            node.hash = None
            node.count -= 1
        self._replace(path, key_hash, _Leaf(rest) if rest else None)
        for depth, node in enumerate(path):
            if node.count <= LEAF_ENTRIES:
                self._replace(path[:depth], key_hash, _Leaf(b"".join(_runs(node))))
                break
        return True

    def copy(self) -> "Digest":
        """Return a digest of the same set. Leaves are shared: none is ever changed."""
        other = Digest()
        other._top = _copy(self._top)
        return other

    def hash_at(self, bits: int, prefix: int) -> bytes:
        """Return the hash of all entries whose key starts with the `bits` bits of `prefix`."""
        tree, depth = self._find(bits, prefix)
        if depth * 4 == bits:
            return _hash(tree)
        if type(tree) is _Node:
            quarter = tree.children[4 * (prefix & 3) : 4 * (prefix & 3) + 4]
            count = sum(map(_count, quarter))
            if count > LEAF_ENTRIES:
                return hash_tagged(_HALF_CONTEXT, *map(_hash, quarter))
            entries = b"".join(run for child in quarter for run in _runs(child))
        else:
            entries = _slice(tree, bits, prefix)
        return hash_tagged(_LEAF_CONTEXT, entries) if entries else _EMPTY

    def count_at(self, bits: int, prefix: int) -> int:
        """Return how many keys start with the `bits` bits of `prefix`."""
        tree, depth = self._find(bits, prefix)
        if depth * 4 == bits:
            return _count(tree)
        if type(tree) is _Node:
            return sum(map(_count, tree.children[4 * (prefix & 3) : 4 * (prefix & 3) + 4]))
        return len(_slice(tree, bits, prefix)) // ENTRY_BYTES

    def entries_at(self, bits: int, prefix: int) -> Iterator[bytes]:
        """Yield the entries whose key starts with `prefix`, 64 bytes each, in order of their keys."""
        tree, depth = self._find(bits, prefix)
        if depth * 4 == bits:
            runs = _runs(tree)
        elif type(tree) is _Node:
            runs = (run for at in range(4) for run in _runs(tree.children[4 * (prefix & 3) + at]))
        else:
            runs = iter((_slice(tree, bits, prefix),))
        for run in runs:
            for at in range(0, len(run), ENTRY_BYTES):
                yield run[at : at + ENTRY_BYTES]

    def _find(self, bits: int, prefix: int) -> tuple[_Tree, int]:
        """Return the tree at the last whole level above or at the prefix, and its depth.

        A leaf above the prefix is returned with depth -1: it may hold entries outside.
        """
        tree = self._top
        for depth in range(bits // 4):
            if type(tree) is not _Node:
                return tree, -1
            tree = tree.children[(prefix >> (bits - 4 * depth - 4)) & 15]
        return tree, bits // 4 if type(tree) is _Node or bits % 4 == 0 else -1

    def _descend(self, key_hash: bytes) -> tuple[list[_Node], _Leaf | None]:
        path: list[_Node] = []
        tree = self._top
        while type(tree) is _Node:
            path.append(tree)
            tree = tree.children[_nibble(key_hash, len(path) - 1)]
        return path, tree  # type: ignore[return-value]

    def _replace(self, path: list[_Node], key_hash: bytes, tree: _Tree) -> None:
        """Put `tree` where the path, followed for this key, ends."""
        if path:
            path[-1].children[_nibble(key_hash, len(path) - 1)] = tree
        else:
            self._top = tree


def _copy(tree: _Tree) -> _Tree:
    if type(tree) is not _Node:
        return tree
    node = _Node([_copy(child) for child in tree.children], tree.count)
    node.hash = tree.hash
    return node


def _nibble(key_hash: bytes, depth: int) -> int:
    byte = key_hash[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def _position(entries: bytes, key: bytes) -> int:
    """Return the offset of the first entry whose key is not below `key`, which may be shorter."""
    low, high = 0, len(entries) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        if entries[middle * ENTRY_BYTES : middle * ENTRY_BYTES + HASH_BYTES] < key:
            low = middle + 1
        else:
            high = middle
    return low * ENTRY_BYTES


def _slice(leaf: _Tree, bits: int, prefix: int) -> bytes:
    """Return the run of a leaf's entries whose keys start with `prefix`."""
    if leaf is None:
        return b""
    assert type(leaf) is _Leaf
    first = _position(leaf.entries, (prefix << (MAX_BITS - bits)).to_bytes(MAX_BITS // 8))
    if prefix + 1 == 1 << bits:
        return leaf.entries[first:]
    return leaf.entries[
        first : _position(leaf.entries, ((prefix + 1) << (MAX_BITS - bits)).to_bytes(MAX_BITS // 8))
    ]


def _grow(entries: bytes, depth: int) -> _Leaf | _Node:
    """Return the tree of these entries, which lies `depth` levels below the top."""
    count = len(entries) // ENTRY_BYTES
    if count <= LEAF_ENTRIES:
        return _Leaf(entries)
    runs: list[list[bytes]] = [[] for _ in range(16)]
    for at in range(0, len(entries), ENTRY_BYTES):
        entry = entries[at : at + ENTRY_BYTES]
        runs[_nibble(entry, depth)].append(entry)
    return _Node([_grow(b"".join(run), depth + 1) if run else None for run in runs], count)


def _count(tree: _Tree) -> int:
    if type(tree) is _Node:
        return tree.count
    return len(tree.entries) // ENTRY_BYTES if type(tree) is _Leaf else 0


def _hash(tree: _Tree) -> bytes:
    if tree is None:
        return _EMPTY
    if tree.hash is None:
        if type(tree) is _Node:
            tree.hash = hash_tagged(_NODE_CONTEXT, b"".join(map(_hash, tree.children)))
        elif type(tree) is _Leaf:
            tree.hash = hash_tagged(_LEAF_CONTEXT, tree.entries)
    assert tree.hash is not None
    return tree.hash


def _runs(tree: _Tree) -> Iterator[bytes]:
    """Yield the entries below a tree, leaf by leaf."""
    if type(tree) is _Node:
        for child in tree.children:
            yield from _runs(child)
    elif type(tree) is _Leaf:
        yield tree.entries
