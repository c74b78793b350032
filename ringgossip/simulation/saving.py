"""How does a shrunk plan become a story again? The file it came from, with other faults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringgossip.simulation.faults import Fault
from ringgossip.simulation.plans import plan_text
from ringgossip.simulation.scenario import Story
from ringgossip.simulation.scenario_schema import read_story


def story_text(path: Path, plan: Sequence[Fault], story: Story, seed: int, failure: str) -> str:
    """Return a whole story with these faults and no swarm; the same seed runs it the same."""
    import yaml

    said: dict[str, Any] = dict(story.said)
    said.pop("faults", None)
    said.pop("swarm", None)
    nodes = "" if len(story.specs) == len(read_story(path).specs) else f" --nodes {len(story.specs)}"
    # The name takes part in no draw once there is no swarm.
    does = "Crashes" if failure == "crash" else f"Breaks {failure}"
    said["about"] = f"{does} with --seed {seed}{nodes}. {said.get('about') or ''}".strip()
    said.setdefault("story", story.name)
    peers = said.get("peers")
    if isinstance(peers, dict) and "cluster_file" in peers:
        # The new story may lie elsewhere.
        said["peers"] = peers | {"cluster_file": str((path.parent / str(peers["cluster_file"])).resolve())}
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    return f"{text}{plan_text(plan)}\n"
