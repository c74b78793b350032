"""Which words may stand in a configuration? Kinds, roles, states, strategies, priorities.

Every room may import these: they are plain tuples and one table of synonyms.
Source: field notes, sections 1 and 4.
"""

from ringgossip.errors import UsageError

KINDS = ("games", "models", "npz")
# A backbone or proxy host keeps what it is chosen to keep, and asks for nothing of its own.
ROLES = ("selfplay", "training", "coordinator", "backbone", "proxy")
STRATEGIES = ("hybrid", "ephemeral", "broadcast", "auto")
# Only a ready node receives.
STATES = ("ready", "offline", "retired", "terminated", "archived", "setup", "suspended")
# From the least urgent to the most.
PRIORITIES = ("background", "low", "normal", "high", "critical")

# Words for kinds that are in use; stored and sent is always the plural.
_KIND_WORDS = {"game": "games", "model": "models", "checkpoint": "models", "checkpoints": "models"}


def plural_kind(word: str) -> str:
    """Return `games`, `models` or `npz` for any word in use for it.

    Raises `UsageError` for another word.
    """
    kind = _KIND_WORDS.get(word, word)
    if kind not in KINDS:
        raise UsageError(f"{word!r} is no kind of artifact: use one of {', '.join(KINDS)}")
    return kind


def provider_of(node: str) -> str:
    """Return the provider that a node's name tells: its prefix before the first `-`."""
    return node.partition("-")[0]
