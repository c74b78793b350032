"""Does every name that may be published stay inside its folder, on every file system?"""

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringgossip.content.names import check_artifact_name, require_artifact_name
from ringgossip.errors import UsageError


@pytest.mark.parametrize(
    "name",
    [
        "games.db",
        "canonical_hex8_2p.pth",
        "a/b/c/d/e/f/g/h",
        "hex8/2p/model v2.pth",
        "modèle-é.npz",
        "模型.pth",
        "console.db",
        "a@b",
        "@5x",
        ".hidden",
        "..a",
        "x" * 238,
        "/".join(["é" * 60, "é" * 60]),
        "~root",
        "-rf",
    ],
)
def test_names_that_people_use_are_allowed(name: str) -> None:
    assert check_artifact_name(name) is None
    assert require_artifact_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("..", "component '..'"),
        ("../x", "component '..'"),
        ("a/../b", "component '..'"),
        ("a/./b", "component '.'"),
        ("a//b", "component ''"),
        ("a/", "component ''"),
        ("/etc/passwd", "absolute"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("a\\b", "backslash"),
        ("a.", "dot or a space"),
        ("a /b", "dot or a space"),
        ("CON", "Windows"),
        ("x/nul.db", "Windows"),
        ("com1.tar.gz", "Windows"),
        ("LPT²", "Windows"),
        (".ringgossip", "reserved"),
        ("a/.RingGossip-tmp/b", "reserved"),
        ("games.db@17", "kept"),
        ("games@3/x", "kept"),
        ("e\u0301.pth", "NFC"),
        ("\ud800", "UTF-8"),
        ("x" * 300, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("x" * 239, "238 bytes"),
        ("a/" * 8 + "b", "8 components"),
    ],
)
def test_names_that_would_leave_the_store_or_change_on_the_way_are_refused(name: str, reason: str) -> None:
    problem = check_artifact_name(name)
    assert problem is not None
    assert reason in problem
    with pytest.raises(UsageError) as caught:
        require_artifact_name(name)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40) | st.text("./\\@0a ", max_size=12))
def test_whatever_is_allowed_is_a_plain_path_below_its_folder(name: str) -> None:
    if check_artifact_name(name) is None:
        joined = posixpath.join("/store", name)
        assert posixpath.normpath(joined) == joined
        assert joined.startswith("/store/")
        assert all(unicodedata.category(character) not in ("Cc", "Cs") for character in name)
