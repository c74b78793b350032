"""Tell a few small stories and say their hashes; or write them down as what they must be from now on.

    python tests/helpers/replay.py            one JSON object: story and seed -> hash of the run
    python tests/helpers/replay.py --write    the same, into tests/simulation/replay.json

A change that is meant to alter runs (a message more, another draw) writes them anew; every other
must leave them. Runs on every Python that the package supports, with nothing but its dependencies.
"""

import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PINNED = REPOSITORY / "tests/simulation/replay.json"

# Between them: every carrier, links that break, disks, liars, other versions, whatever a seed brings.
STORIES = (
    ("cold_start", 1), ("flash_crowd", 2), ("full_disks", 3), ("nat_heavy", 4), ("old_version", 5),
    ("liar", 6), ("anything", 8),
)  # fmt: skip


def hashes() -> dict[str, str]:
    """Return the hash of each story's run."""
    from ringgossip.simulation import read_story, run_story
    from ringgossip.simulation.members import MembersWorld

    found = {}
    for name, seed in STORIES:
        story = read_story(REPOSITORY / "simulations" / f"{name}.yaml")
        if story.quick is not None:
            story = story.scaled(story.quick)
        found[f"{name} {seed}"] = run_story(story, seed).hash
    world = MembersWorld(30, seed=10, wire="real")
    world.start()
    world.run(3.0)
    world.crash(7)
    world.run(9.0)
    found["members 10"] = world.run_hash
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    text = json.dumps(hashes(), indent=1) + "\n"
    if "--write" in sys.argv[1:]:
        PINNED.write_text(text)
    else:
        sys.stdout.write(text)
