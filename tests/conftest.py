"""What do all tests share? The helpers' folder on the path, and how hypothesis runs."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

# Where compiled modules go elsewhere than into the tree, peers may keep them: a start costs a third then.
if os.environ.get("PYTHONPYCACHEPREFIX"):
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No deadline: two cores shared with real processes make single examples slow by chance.
settings.register_profile(
    "ringgossip",
    deadline=None,
    max_examples=50,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ringgossip")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among workers of pytest-xdist, long files come first: else one worker ends alone, late."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.path not in slow, "cluster" not in item.path.parts))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: who looks for garbage of made worlds need not pass there."""
    gc.collect()
    gc.freeze()
