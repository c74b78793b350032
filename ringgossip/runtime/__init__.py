"""The real world, on trio: sockets, threads and disks, driven by one `PeerCore`.

Rules of this room:
- The core lives in trio's thread. Inputs are plain calls, effects are performed
  at once and in order, and performing one never calls the core back.
- Nothing that may block runs in trio's thread: files, the index, hashes of
  whole chunks, names and signatures of records are the work of long-lived threads.
- Every queue has a bound, or holds only what the core granted.
"""
