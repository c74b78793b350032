"""What do all tests share? The helpers' folder on the path, and how hypothesis runs."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

# No deadline: two cores shared with real processes make single examples slow by chance.
settings.register_profile(
    "ringgossip",
    deadline=None,
    max_examples=50,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ringgossip")
