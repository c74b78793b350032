"""A made world: whole clusters of the machines of production, in one process and in virtual time.

`kernel` is time and chance; `network`, `bandwidth`, `links` and `disk` are the
things a peer touches; `notary` is cryptography that costs nothing and is still
checked; `node` drives one `PeerCore`; `faults` says what goes wrong; `checks`
says what must hold all the same; `world` puts it together.
"""
