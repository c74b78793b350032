"""Is the control socket where it should be, private, and gone at the end?"""

import os
import socket
import stat
from pathlib import Path

import pytest

from ringgossip.service.place import bound_socket


def named(data: Path) -> Path:
    return Path((data / "socket").read_text().strip())


def test_the_socket_is_named_reachable_and_private(tmp_path: Path) -> None:
    with bound_socket(tmp_path), socket.socket(socket.AF_UNIX) as program:
        program.connect(str(named(tmp_path)))
        assert stat.S_IMODE(named(tmp_path).stat().st_mode) == 0o600
    assert not (tmp_path / "socket").exists()


def test_a_path_that_is_too_long_for_the_kernel_gets_a_private_folder_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 100) / ("y" * 100)
    data.mkdir(parents=True)
    with bound_socket(data), socket.socket(socket.AF_UNIX) as program:
        path = named(data)
        assert data not in path.parents
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        program.connect(str(path))
    assert not path.parent.exists()


def leave_behind(data: Path) -> Path:
    """Let a process end without a chance to clean up."""
    child = os.fork()
    if child == 0:
        try:
            context = bound_socket(data)
            context.__enter__()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return named(data)


@pytest.mark.parametrize("depth", [0, 2])
def test_what_a_killed_peer_left_is_replaced(tmp_path: Path, depth: int) -> None:
    data = tmp_path.joinpath(*["z" * 100] * depth)
    data.mkdir(parents=True, exist_ok=True)
    left = leave_behind(data)
    assert left.exists()
    with bound_socket(data), socket.socket(socket.AF_UNIX) as program:
        program.connect(str(named(data)))
    assert not left.exists()


def test_a_naming_file_with_other_words_in_it_deletes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "control.sock"
    data = tmp_path / "data"
    data.mkdir()
    precious.write_text("mine")
    (data / "socket").write_text(str(precious))
    with bound_socket(data):
        pass
    assert precious.read_text() == "mine"
