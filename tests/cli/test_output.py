"""Is what people read aligned, short, and free of what other machines might smuggle in?"""

import pytest

from ringgossip.cli.output import bytes_text, rate_text, seconds_text, table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 * 2**20, "64.0 MiB"),
        (2**20 - 1, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (3000 * 2**40, "3000.0 TiB"),
    ],
)
def test_bytes_have_a_unit_in_which_they_are_short(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.254, "0.25 s"),
        (9.999, "10.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7380, "2 h 03 min"),
        (2 * 86400 + 3600, "2 d 01 h"),
    ],
)
def test_lengths_of_time_never_show_sixty_of_anything(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_rates_are_in_the_unit_of_the_cable() -> None:
    assert rate_text(12_500_000) == "12.5 MB/s"


def test_a_table_aligns_its_columns_and_numbers_to_the_right() -> None:
    assert table(("name", "size"), [("a", 5), ("longer", 1234)], right=("size",)).splitlines() == [
        "name    size",
        "a          5",
        "longer  1234",
    ]


def test_a_name_from_another_machine_cannot_move_the_cursor() -> None:
    assert table(("name",), [("a\x1b[2Jb\n",), (None,)]).splitlines()[1:] == ["a\\x1b[2Jb\\n", "-"]
