"""Does every node and kind get the plan of the reference's table?"""

import pytest

from ringgossip.strategy.plans import NEVER, PLANS, Plan, is_pushed, node_type, plan_for

# The table of the reference, cell by cell.
TABLE = {
    ("ephemeral", "games"): "ephemeral",
    ("ephemeral", "models"): "broadcast",
    ("ephemeral", "npz"): "ephemeral",
    ("training", "games"): "hybrid",
    ("training", "models"): "broadcast",
    ("training", "npz"): "hybrid",
    ("coordinator", "games"): "skip",
    ("coordinator", "models"): "skip",
    ("coordinator", "npz"): "skip",
    ("other", "games"): "hybrid",
    ("other", "models"): "broadcast",
    ("other", "npz"): "hybrid",
}
FACTS = {
    "ephemeral": {"role": "selfplay", "ephemeral": True},
    "training": {"role": "training"},
    "coordinator": {"role": "coordinator"},
    "other": {"role": "selfplay"},
}


@pytest.mark.parametrize(("node", "kind"), TABLE)
def test_auto_is_the_table_of_the_reference(node: str, kind: str) -> None:
    assert plan_for("auto", kind, **FACTS[node]).name == TABLE[node, kind]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["hybrid", "ephemeral", "broadcast"])
@pytest.mark.parametrize("node", FACTS)
def test_a_strategy_that_is_named_holds_for_every_node_and_kind(name: str, node: str) -> None:
    for kind in ("games", "models", "npz"):
        assert plan_for(name, kind, **FACTS[node]) == PLANS[name]  # type: ignore[arg-type]


def test_a_training_node_that_may_vanish_counts_as_ephemeral() -> None:
    assert node_type("training", ephemeral=True) == "ephemeral"


@pytest.mark.parametrize("role", ["training", "gpu_training_primary"])
def test_a_role_that_contains_training_is_a_training_node(role: str) -> None:
    assert node_type(role, ephemeral=False) == "training"


def test_a_priority_node_counts_as_training_node() -> None:
    assert node_type("selfplay", ephemeral=False, priority=True) == "training"


def test_receive_on_a_coordinator_overrides_skip_for_those_kinds_only() -> None:
    plans = [plan_for("auto", kind, "coordinator", receive=("games",)).name for kind in ("games", "npz")]
    assert plans == ["hybrid", "skip"]


def test_the_rows_say_what_the_reference_says() -> None:
    assert PLANS["hybrid"].fanout == 3  # "2-3 neighbors"
    assert (PLANS["ephemeral"].interval, PLANS["ephemeral"].persistent_first) == (30, True)
    assert PLANS["ephemeral"].copies > 0  # write-through
    assert PLANS["broadcast"].everyone
    assert PLANS["skip"] == Plan("skip", 0, NEVER, 0, False, False)


def test_the_settings_say_the_interval_and_an_ephemeral_cycle_is_never_the_longer() -> None:
    def interval(strategy: str, main: float, short: float) -> float:
        return plan_for(strategy, "games", "selfplay", interval=main, ephemeral_interval=short).interval

    assert interval("hybrid", 300, 30) == 300
    assert interval("ephemeral", 300, 20) == 20
    assert interval("ephemeral", 10, 30) == 10


@pytest.mark.parametrize(
    ("kind", "games", "pushed"),
    [
        ("games", 9, False),
        ("games", 10, True),
        ("games", None, True),
        ("models", 0, True),
        ("npz", None, True),
    ],
)
def test_a_database_with_too_few_games_is_not_pushed(kind: str, games: int | None, pushed: bool) -> None:
    assert is_pushed(kind, games, min_games=10) is pushed
