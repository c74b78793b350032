"""Which files does the demo publish? A checkpoint and an npz, in the layouts that torch and numpy write.

Their tensors are random bytes, so nothing on the way can compress or share
them. Neither torch nor numpy is needed to write them.
"""

import os
import pickle
import zipfile
from pathlib import Path

_TENSOR = 4 << 20


def write_checkpoint(path: Path, size: int) -> None:
    """Write a zip as torch.save does, with about `size` bytes of tensors; replaced atomically."""
    beside = path.with_name(path.name + ".tmp")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        count = max(1, size // _TENSOR)
        names = {f"layers.{index}.weight": index for index in range(count)}
        archive.writestr("archive/data.pkl", pickle.dumps(names, protocol=2))
        for index in range(count):
            archive.writestr(f"archive/data/{index}", os.urandom(size // count))
        archive.writestr("archive/version", "3\n")
    beside.rename(path)


def write_npz(path: Path, rows: int) -> None:
    """Write a zip as numpy.savez does: features, policies and values of `rows` positions."""
    beside = path.with_name(path.name + ".tmp")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        for name, width in (("features", 480), ("policy", 96), ("values", 1)):
            archive.writestr(f"{name}.npy", _npy(rows, width))
    beside.rename(path)


def _npy(rows: int, width: int) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    # The format wants the data to start at a multiple of 64, after a newline.
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    return (
        b"\x93NUMPY\x01\x00"
        + len(header).to_bytes(2, "little")
        + header.encode()
        + os.urandom(4 * rows * width)
    )
