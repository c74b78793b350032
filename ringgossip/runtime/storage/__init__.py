"""Files, partial files and the index on disk, and snapshots of live databases.

Everything here blocks and is called from worker threads; nothing here knows
trio or the protocol. `store.Store` is the whole room seen from outside.
The snapshot helper process imports this package too: keep it light.
"""
