"""What is shared? Chunks, manifests, records, catalogs and digests: data and pure functions.

Nothing here knows peers, time or sockets. Import the modules directly:
`hashing`, `chunking`, `manifest`, `names`, `record`, `digest`, `catalog`, and `kinds`.
"""
