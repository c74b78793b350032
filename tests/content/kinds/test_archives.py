"""npz and models: whole ones pass, torn ones are refused with the reason, hostile ones cost nothing."""

import io
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.kinds import models, npz, zips
from ringgossip.errors import ArtifactRefused


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "hex8_2p.npz"
    rng = np.random.default_rng(1)
    np.savez(
        path,
        features=rng.random((50, 7, 3), dtype=np.float32),
        names=np.array(["a", "long one"]),
        rows=np.zeros(3, dtype=[("move", "<i4"), ("policy", "<f2", (4,))]),
        scalar=np.array(1.5),
    )
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file laid out as torch.save does; its pickle would end the process if it were ever loaded."""
    path = tmp_path / "canonical_hex8_2p.pth"

    class Bomb:
        def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
            return os._exit, (3,)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/data/0", random.Random(1).randbytes(300_000))
        archive.writestr("archive/version", "3\n")
    return path


def test_a_whole_npz_is_accepted_and_its_arrays_counted(samples: Path) -> None:
    found = npz.inspect_source(samples)
    assert (found.facts, found.warnings) == ({"arrays": 4}, ())
    assert npz.check_arrival(samples) is None


def test_a_compressed_npz_is_accepted_though_it_inflates_a_thousandfold(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    np.savez_compressed(path, mask=np.zeros(30_000_000, dtype=np.uint8))
    assert path.stat().st_size < 40_000
    assert npz.inspect_source(path).warnings == ()
    assert npz.check_arrival(path) is None


def test_pickled_objects_in_an_npz_are_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, things=np.array([{"a": 1}, None], dtype=object))
    assert "pickled objects" in npz.inspect_source(path).warnings[0]


def test_a_whole_checkpoint_is_accepted_and_never_unpickled(checkpoint: Path) -> None:
    assert models.inspect_source(checkpoint).warnings == ()
    assert models.check_arrival(checkpoint) is None


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_model_that_is_no_zip_is_accepted_and_said_to_be_unchecked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100))
    assert "unchecked" in models.inspect_source(path).warnings[0]
    assert models.check_arrival(path) is None


def test_an_empty_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.pth"
    path.touch()
    with pytest.raises(ArtifactRefused, match="is empty"):
        models.inspect_source(path)
    assert models.check_arrival(path) == "it is empty"


@pytest.mark.parametrize("keep", [0, 1, 3, 100, 1_000, 4_000, -1, -22, -200])
def test_a_torn_npz_is_refused_wherever_it_was_cut(samples: Path, keep: int) -> None:
    whole = samples.read_bytes()
    samples.write_bytes(whole[:keep])
    with pytest.raises(ArtifactRefused, match=r"no whole npz: .*(cut short|still being written|directory)"):
        npz.inspect_source(samples)
    assert npz.check_arrival(samples)


@pytest.mark.parametrize("keep", [4, 100, 200_000, -1, -30])
def test_a_torn_checkpoint_is_refused_wherever_it_was_cut(checkpoint: Path, keep: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(ArtifactRefused, match="no whole checkpoint"):
        models.inspect_source(checkpoint)
    assert models.check_arrival(checkpoint)


@pytest.mark.parametrize("kind", ["npz", "models"])
def test_one_flipped_bit_inside_a_member_is_found_at_the_origin(
    samples: Path, checkpoint: Path, kind: str
) -> None:
    path, inspect = (samples, npz.inspect_source) if kind == "npz" else (checkpoint, models.inspect_source)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ArtifactRefused, match="CRC does not match"):
        inspect(path)


@pytest.mark.parametrize("looks_torn", [False, True])
def test_a_file_that_grows_while_it_is_read_is_refused_as_still_being_written(
    samples: Path, monkeypatch: pytest.MonkeyPatch, looks_torn: bool
) -> None:
    check = npz.check_members

    def check_while_somebody_appends(file: io.BufferedReader, members: list[zips.Member]) -> tuple[str, ...]:
        with samples.open("ab") as appending:
            appending.write(b"more")
        if looks_torn:
            raise ArtifactRefused("it looks torn")
        return check(file, members)

    monkeypatch.setattr(npz, "check_members", check_while_somebody_appends)
    with pytest.raises(ArtifactRefused, match="still being written"):
        npz.inspect_source(samples)


def test_bytes_put_before_the_end_record_are_refused(samples: Path) -> None:
    whole = samples.read_bytes()
    samples.write_bytes(whole[:-22] + b"junk" + whole[-22:])
    assert "bytes were lost or added" in str(npz.check_arrival(samples))


def test_a_pipe_a_folder_and_a_missing_file_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("pipe", "no regular"),
        ("folder", "(no regular|directory)"),
        ("missing", "No such"),
    ):
        with pytest.raises(ArtifactRefused, match=reason):
            npz.inspect_source(tmp_path / name)
        assert models.check_arrival(tmp_path / name)


def rezip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def header(text: str, version: int = 1) -> bytes:
    encoded = text.encode()
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(encoded))
        + encoded
    )


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin like"),
        (b"\x93NUMPY\x09\x00" + bytes(10), "format 9"),
        (header(GOOD) + bytes(7), "its shape needs"),
        (header(GOOD) + bytes(9), "its shape needs"),
        (header(GOOD.replace("(2,)", "(1 << 62,)")) + bytes(8), "cannot be read"),
        (header(GOOD.replace("(2,)", "(4611686018427387904, 4611686018427387904)")), "its shape needs"),
        (header(GOOD.replace("(2,)", "(-2,)")) + bytes(8), "no possible shape"),
        (header(GOOD.replace("(2,)", "(" + "1," * 100 + ")")) + bytes(4), "no possible shape"),
        (header(GOOD.replace("'<f4'", "__import__('os')._exit(3)")) + bytes(8), "cannot be read"),
        (header(GOOD.replace("'<f4'", "'<f4junk'")) + bytes(8), "type"),
        (header("(" * 5000) + bytes(8), "cannot be read"),
        (header("-" * 9000 + "1") + bytes(8), "cannot be read"),
        (header("{}") + bytes(8), "does not say"),
        (header(GOOD, 2)[:20], "cut short"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), "more than 10000"),
    ],
)
def test_hostile_and_torn_array_headers_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = rezip(tmp_path / "bad.npz", {"a.npy": content})
    with pytest.raises(ArtifactRefused, match=reason):
        npz.inspect_source(path)
    assert npz.check_arrival(path)


def test_an_npz_with_two_arrays_of_one_name_none_or_a_foreign_compression_is_refused(tmp_path: Path) -> None:
    array = header(GOOD) + bytes(8)
    assert npz.inspect_source(rezip(tmp_path / "good.npz", {"a.npy": array})).facts == {"arrays": 1}
    with pytest.raises(ArtifactRefused, match="no arrays"):
        npz.inspect_source(rezip(tmp_path / "none.npz", {}))
    with pytest.raises(ArtifactRefused, match="compressed in another way"):
        npz.inspect_source(rezip(tmp_path / "bz2.npz", {"a.npy": array}, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("a.npy", array)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", array)
    with pytest.raises(ArtifactRefused, match="one name"):
        npz.inspect_source(tmp_path / "twice.npz")


def test_members_that_overlap_are_refused_so_that_a_small_file_cannot_cost_much_work(tmp_path: Path) -> None:
    path = rezip(tmp_path / "overlap.pth", {"a": bytes(1000), "b": bytes(1000)})
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(ArtifactRefused, match="overlaps"):
        models.inspect_source(path)


def test_a_member_that_inflates_beyond_what_it_states_is_stopped_there(tmp_path: Path) -> None:
    path = rezip(tmp_path / "bomb.pth", {"a": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<L", 10)
    path.write_bytes(content)
    with pytest.raises(ArtifactRefused, match="does not have the 10 bytes"):
        models.inspect_source(path)


def test_a_directory_beyond_its_limits_is_refused_before_it_is_read(tmp_path: Path) -> None:
    many = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, 10, 0, 0)
    path = tmp_path / "lies.npz"
    path.write_bytes(bytes(10) + many)
    assert "damaged" in str(npz.check_arrival(path))
    long = zips.MAX_DIRECTORY_BYTES + 1
    with path.open("wb") as file:
        file.truncate(long)
        file.seek(long)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, long, 0, 0))
    assert "more than" in str(npz.check_arrival(path))


def test_large_archives_with_64_bit_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wide.npz"
    array = header(GOOD) + bytes(8)
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w", force_zip64=True) as member:
        member.write(array)
    content = path.read_bytes()
    end = content.rfind(b"PK\5\6")
    _, _, _, here, count, length, start, _ = struct.unpack("<4s4H2LH", content[end:])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, here, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:end] + wide + locator + last)
    assert npz.inspect_source(path).facts == {"arrays": 1}


def test_many_odd_members_give_few_warnings(tmp_path: Path) -> None:
    path = rezip(tmp_path / "odd.npz", {f"note{n}": b"" for n in range(50)})
    assert len(npz.inspect_source(path).warnings) == 4


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=8))
def test_no_damage_to_an_npz_raises_anything_but_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.npz"
    np.savez(path, a=np.arange(100), b=np.ones((3, 3)))
    content = bytearray(path.read_bytes())
    at %= len(content)
    content[at : at + len(junk)] = junk
    path.write_bytes(content[: len(content) - cut % 50])
    npz.check_arrival(path)
    models.check_arrival(path)
    try:
        npz.inspect_source(path)
    except ArtifactRefused:
        return
    with np.load(path) as arrays:
        assert {name: arrays[name].sum() for name in arrays.files} == {"a": 4950, "b": 9.0}
