"""Does every mistake in a file give one line that says where it is and what to do?"""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringgossip.config import load_config
from ringgossip.errors import ConfigError

GOOD = "cluster: ringrift\nnode: gpu-1\ndata: /d\ncredentials: /c\n"


def complaints(tmp_path: Path, text: str | bytes, **environment: str) -> list[str]:
    """Return the lines of the refusal, each without the folder in front."""
    path = tmp_path / "node.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as refusal:
        load_config(path, environment)
    return [line.removeprefix(f"{tmp_path}/") for line in str(refusal.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sedes: [a]", "5:1: sedes: is no key; did you mean 'seeds'?"),
        ("zzzzzz: 1", "5:1: zzzzzz: is no key"),
        (
            "role: trainer",
            "5:7: role: 'trainer' is none of selfplay, training, coordinator, backbone, proxy; "
            "did you mean 'training'?",
        ),
        ("ephemeral: 1", "5:12: ephemeral: must be true or false, not 1"),
        ("storage_group: 7", "5:16: storage_group: must be text, not 7; put it in quotes"),
        ("seeds: a:1", "5:8: seeds: must be a list, for example [a, b], not 'a:1'"),
        (
            "seeds: [a:1, b:0]",
            "5:14: seeds[1]: 'b:0' cannot be reached from outside: write a real host and port",
        ),
        (
            "advertise: ['0.0.0.0:7']",
            "5:13: advertise[0]: '0.0.0.0:7' cannot be reached from outside: write a real host and port",
        ),
        ("copies: 2.5", "5:9: copies: must be a whole number, not 2.5"),
        ("share:\n  - {kind: models}", "6:5: share[0].folder: is missing"),
        ("share: [3]", "5:9: share[0]: must be a block of keys and values, not 3"),
        (
            "share:\n  - kind: modles\n    folder: m",
            "6:11: share[0].kind: 'modles' is no kind of artifact: use one of games, models, npz; "
            "did you mean 'models'?",
        ),
        (
            "bandwidth:\n  send_byte_per_second: 1",
            "6:3: bandwidth.send_byte_per_second: is no key; did you mean 'send_bytes_per_second'?",
        ),
        ("bandwidth: fast", "5:12: bandwidth: must be a block of keys and values, not 'fast'"),
        ("patience: 61", "5:11: patience: must be less than or equal to 60, not 61"),
        ("interval_seconds: 0", "5:19: interval_seconds: must be greater than 0, not 0"),
        (
            "role: training\nrole: selfplay",
            "6:1: role: stands here a second time (first on line 5); keep one",
        ),
        (
            "bandwidth: {send_bytes_per_second: 1, send_bytes_per_second: 2}",
            "5:39: bandwidth.send_bytes_per_second: stands here a second time (first on line 5); keep one",
        ),
        (
            "disk: {stop_percent: 50}",
            "5:7: disk: resume_percent 60 must be above 0 and at most stop_percent 50, and that at most 100",
        ),
        ("disk: {stop_percnt: 50}", "5:8: disk.stop_percnt: is no key; did you mean 'stop_percent'?"),
        (
            "state: read",
            "5:8: state: 'read' is none of ready, offline, retired, terminated, archived, "
            "setup, suspended; did you mean 'ready'?",
        ),
        (
            "bandwidth: {globs: {vast-*: fast}}",
            "5:20: bandwidth.globs: a rate must be a number of bytes above 0, for example 67108864 "
            "or 64 MiB, not 'fast'",
        ),
        ("keep: [{kind: npz, newest: 0}]", "5:28: keep[0].newest: must be greater than or equal to 1, not 0"),
        (
            "exclude: {gpu-7: [gams]}",
            "5:10: exclude: 'gams' is no kind of artifact: use one of games, "
            "models, npz; did you mean 'games'?",
        ),
        (
            "exclude: [gpu-7]",
            "5:10: exclude: must be at most 1000 names and values, for example {gpu-7: all, gpu-8: [games]}",
        ),
        (
            "termination: {url: 'file:///etc/passwd'}",
            "5:20: termination.url: 'file:///etc/passwd' must start with http://",
        ),
        (
            "budget: {send_bytes_per_day: -1}",
            "5:30: budget.send_bytes_per_day: must be a number of bytes "
            "above 0, for example 67108864 or 64 MiB, not -1",
        ),
        ("[a]: 1", "5:1: a key must be a word"),
        (
            "listen: here:there",
            "5:9: listen: 'here:there' is no address: write host:port, for example 10.0.0.7:7946",
        ),
        (
            "listen: '10.0.0.7 :7946'",
            "5:9: listen: '10.0.0.7 :7946' is no address: write host:port, for example 10.0.0.7:7946",
        ),
        ('"a\\nb": 1', "5:1: 'a\\nb': is no key"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(tmp_path: Path, text: str, complaint: str) -> None:
    assert complaints(tmp_path, GOOD + text) == [f"node.yaml:{complaint}"]


def test_a_number_where_a_word_belongs_is_no_word(tmp_path: Path) -> None:
    text = GOOD.replace("gpu-1", "12345")
    assert complaints(tmp_path, text) == ["node.yaml:2:7: node: must be text, not 12345; put it in quotes"]


def test_a_name_that_would_leave_the_store_is_refused(tmp_path: Path) -> None:
    [line] = complaints(tmp_path, GOOD.replace("gpu-1", "../gpu"))
    assert line.startswith("node.yaml:2:7: node: '../gpu' is no node name")


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = complaints(tmp_path, "nod: a\nrole: x\nrole: y\nwant: [z]\n", RINGGOSSIP_COPIES="many")
    assert [line.split(": ")[1] for line in lines] == [
        "cluster",
        "node",
        "data",
        "nod",
        "role",
        "role",
        "want",
        "copies",
    ]
    assert lines[2] == "node.yaml:1:1: data: is missing; write it here or set RINGGOSSIP_DATA"
    assert lines[-1] == "environment RINGGOSSIP_COPIES: copies: must be a whole number, not 'many'"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1, 2", "node.yaml:1:9: is not valid YAML"),
        ("a: b: c", "node.yaml:1:5: is not valid YAML"),
        ("a: 1\n--- \nb: 2", "node.yaml:2:1: is not valid YAML"),
        ("- a", "node.yaml:1:1: must be keys and values"),
        (b"cluster: c\nnode: \xff", "node.yaml:2:7: is not UTF-8 text"),
        ("node: \x07", "node.yaml:1:7: a control character"),
        ("[" * 50_000, "node.yaml:1:51: is nested too deeply"),
        ("a:\n - " + "[" * 100 + "]" * 100, "node.yaml:2:52: is nested too deeply"),
        (
            "a: &a [x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{new}: &{new} [{', '.join(['*' + old] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
            ),
            "node.yaml:1:8: holds too many values",
        ),
        ("a: " + "x" * 2**20, "node.yaml: is larger than 1048576 bytes"),
        ("a: &a [*a]", "node.yaml:1:4: is nested too deeply"),
    ],
)
def test_what_is_no_configuration_is_one_line(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    [line] = complaints(tmp_path, text)
    assert line.startswith(complaint)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("'12345'", "12345"), ("2024-01-01", "2024-01-01"), ("0123", "0123"), ("1:30", None), ("0x1f", "0x1f")],
)
def test_yaml_does_not_guess_dates_octals_or_base_sixty(
    tmp_path: Path, word: str, meaning: str | None
) -> None:
    (tmp_path / "node.yaml").write_text(GOOD.replace("gpu-1", word))
    if meaning is None:
        with pytest.raises(ConfigError, match="'1:30' is no node name"):
            load_config(tmp_path / "node.yaml", {})
    else:
        assert load_config(tmp_path / "node.yaml", {}).node == meaning


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
@example("? {a: b}\n: c")
@example("<<: {node: a}")
@example("!!python/object:os.system x: 1")
@example("cluster: !!binary xx")
@example('data: "\\0"\ncredentials: ~nobody-here/x')
@example("seeds: [[a]]\nwant: [[games]]\nmemory: {in_flight_bytes: .inf}\npatience: 99999999999999999999999")
def test_no_text_whatever_gets_anything_but_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "node.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(ConfigError) as refusal:
        load_config(path, {})
    assert all(line.startswith(str(path)) for line in str(refusal.value).splitlines())
