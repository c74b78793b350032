"""Which signal does a program mean that calls `notify`? The words in use for it and for its fields."""

from collections.abc import Mapping

from ringgossip.events import SIGNALS, Signal

# Other words for the node that are in use.
_NODE_WORDS = ("node_id", "host", "source_node", "node")


def signal(name: str, fields: Mapping[str, object]) -> Signal:
    """Return the signal that a program means. Raises `ValueError` with one line.

    The node may be called by any of the names in use; fields that we do not
    know are ignored, since programs of the reference send many.
    """
    kind = SIGNALS.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is no signal: use one of {', '.join(SIGNALS)}")
    node = next((fields[word] for word in _NODE_WORDS if fields.get(word)), None)
    if not isinstance(node, str):
        raise ValueError(f"{name} is about a node: say node_id")
    config_key = fields.get("config_key") or ""
    return kind(node, config_key if isinstance(config_key, str) else "")
