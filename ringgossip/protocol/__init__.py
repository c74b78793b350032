"""WHEN: the state machines of the protocol, without I/O. See `core` for their shape."""
