"""What a story may say, and what is told of one that is wrong: one line, with file, line and column."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ringgossip.errors import ConfigError
from ringgossip.simulation.kernel import Kernel
from ringgossip.simulation.latency import Constant
from ringgossip.simulation.network import BurstLoss, Weather
from ringgossip.simulation.plans import FAULTS, PlanError, as_data, build, plan_text
from ringgossip.simulation.running import run_story
from ringgossip.simulation.scenario import Publish
from ringgossip.simulation.scenario_schema import read_story
from ringgossip.simulation.swarm import draw_plan
from ringgossip.simulation.world import World

STORIES = sorted((Path(__file__).parents[2] / "simulations").glob("*.yaml"))


def story_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "story.yaml"
    path.write_text(text)
    return path


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_story(story_of(tmp_path, text))
    return str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("peers: 5\nsaftey: 30\n", "/story.yaml:2:1: saftey: is no key; did you mean 'safety'?"),
        ("network:\n  los: 0.1\n", "/story.yaml:2:3: network.los: is no key; did you mean 'loss'?"),
        ("network: {loss: 2}\n", "/story.yaml:1:17: network.loss: must be from 0 to 1, not 2"),
        ("peers: zero\n", "/story.yaml:1:8: peers: must be a number, a list of groups, or {cluster_file"),
        (
            "faults:\n  - crsh: {at: 3, peer: 1}\n",
            "/story.yaml:2:5: faults[0].crsh: is no fault; did you mean 'crash'?",
        ),
        (
            "peers: 3\nfaults:\n  - crash: {at: 3, peer: 7}\n",
            "/story.yaml:3:20: crash.peer: there is no peer 7: they are numbered 0 to 2",
        ),
        (
            "peers: [{count: 3, name: gpu}]\nfaults:\n  - crash: {at: 3, peer: gpu-11}\n",
            "/story.yaml:3:20: crash.peer: there is no peer 'gpu-11'; did you mean 'gpu-1'?",
        ),
        (
            "faults:\n  - crash: {at: 3, peer: 1, second: 7}\n",
            "/story.yaml:2:29: crash.second: is no key of crash; did you mean 'seconds'?",
        ),
        ("faults:\n  - crash: {at: 3}\n", "/story.yaml:2:5: crash: crash needs 'peer'"),
        (
            "safety: 20\nfaults:\n  - crash: {at: 30, peer: 1}\n",
            "/story.yaml:3:17: faults[0].crash.at: 30 s is after the safety phase of 20 s",
        ),
        (
            "workload:\n  - publish: {by: nobody, size: 1 MB}\n",
            "/story.yaml:2:19: workload[0].publish.by: there is no peer 'nobody'",
        ),
        (
            "promises: {always: [S9]}\n",
            "/story.yaml:1:20: promises.always: 'S9' is none of S1, S2, S3, S4, S5, S6, S7, no_resurrection, "
            "monotone_incarnations, no_false_death",
        ),
        (
            "liveness: {within: 30}\npromises: {eventually: {L1: 60}}\n",
            "/story.yaml:2:29: promises.eventually.L1: cannot be seen: the liveness phase ends after 30 s",
        ),
        (
            "peers: 3\ncopies: 5\npromises: {eventually: {L3: 60}}\n",
            "/story.yaml:3:29: promises.eventually.L3: cannot be kept: 5 copies beside the origin's are "
            "wanted of 3 peers",
        ),
        (
            "promises: {sometimes: [chunk_refused]}\n",
            "/story.yaml:1:23: promises.sometimes: chunk_refused cannot come true: nothing is published",
        ),
        ("a: [\n", "/story.yaml:2:1: is not valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    assert complaint(tmp_path, text).splitlines()[0].startswith(line)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "peers: 3\nfaults:\n  - crash: {at: 3, peer: 7}\n  - pause: {at: 3, peer: 8}\nquick: 1\n"
    assert [line.split(":")[1] for line in complaint(tmp_path, text).splitlines()] == ["3", "4"]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_every_story_we_ship_can_be_read_and_scaled(path: Path) -> None:
    story = read_story(path)
    assert story.about and story.name == path.stem
    assert story.promises.eventually
    if story.quick is not None:
        assert len(story.scaled(story.quick).specs) == story.quick


def test_all_stories_that_were_promised_are_there() -> None:
    assert {path.stem for path in STORIES} >= {
        "cold_start", "flash_crowd", "steady_selfplay", "lossy_network", "partition_and_heal",
        "rolling_restart", "thin_uplink", "spot_termination", "nat_heavy", "liar", "full_disks",
        "slow_nodes", "mass_rejoin", "old_version", "real_cluster",
    }  # fmt: skip


def test_groups_have_numbers_and_keep_their_shares_when_the_story_grows(tmp_path: Path) -> None:
    text = (
        "peers:\n  - {count: 2, role: training}\n  - {count: 6, name: gpu, up: 10 Mbit/s}\n"
        "  - {name: boss, role: coordinator}\nnetwork: {carrier: pieces}\n"
    )
    story = read_story(story_of(tmp_path, text))
    assert story.names[:3] == ["training-0", "training-1", "gpu-0"] and story.names[-1] == "boss"
    assert story.specs[2].up == 1_250_000
    grown = story.scaled(33)
    assert [group.count for group in grown.groups] == [8, 24, 1]
    with pytest.raises(ConfigError, match="needs at least 3 peers"):
        story.scaled(2)


def test_a_plan_names_a_peer_that_a_smaller_story_lacks(tmp_path: Path) -> None:
    story = read_story(story_of(tmp_path, "peers: 6\nfaults:\n  - pause: {at: 3, peer: 5}\n"))
    with pytest.raises(ConfigError, match=r"story\.yaml:3:20: pause\.peer: there is no peer 5"):
        story.scaled(4)


def test_sizes_and_rates_have_units(tmp_path: Path) -> None:
    text = "workload:\n  - publish: {by: 1, size: 1.5 MiB}\n"
    [task] = read_story(story_of(tmp_path, text)).tasks
    assert isinstance(task, Publish) and task.size == 3 * 2**19


def test_the_users_own_cluster_file_is_a_cast() -> None:
    story = read_story(next(path for path in STORIES if path.stem == "real_cluster"))
    specs = {spec.name: spec for spec in story.specs}
    assert len(specs) == 42 and sum(not spec.accepts for spec in specs.values()) == 16
    assert specs["vast-1"].ephemeral and specs["nebius-h100-1"].role == "training"
    assert specs["hetzner-cpu1"].up == 25e6


@pytest.mark.parametrize("word", FAULTS)
def test_every_fault_becomes_yaml_and_comes_back(word: str) -> None:
    names = [f"peer-{number}" for number in range(6)]
    needed = {"at": 3.25, "peer": 1, "one": 2, "other": 3, "group": [0, "peer-4"]}
    known = {field.name for field in fields(FAULTS[word])}
    fault = build(word, {key: value for key, value in needed.items() if key in known}, names)
    [again] = yaml.safe_load(plan_text([fault]))["faults"]
    [(said, keys)] = again.items()
    assert build(said, keys, names) == fault
    assert as_data(fault)[word] == keys


def test_a_swarms_plan_becomes_yaml_and_comes_back() -> None:
    names = [f"peer-{number}" for number in range(6)]
    for seed in range(50):
        plan = draw_plan(World(1, seed=seed).kernel.generator("plan"), 6, 2.0, 30.0)
        again = [next(iter(entry.items())) for entry in yaml.safe_load(plan_text(plan))["faults"]]
        assert [build(word, keys, names) for word, keys in again] == plan


def test_a_seed_draws_which_faults_there_are_and_then_how_often_each() -> None:
    kinds = ("pause", "crash", "reset", "udp")
    plans = [
        [type(fault) for fault in draw_plan(Kernel(seed).generator("plan"), 6, 2, 30, kinds, 40)]
        for seed in range(200)
    ]
    assert {len(set(plan)) for plan in plans} == {0, 1, 2, 3, 4}
    # Of two kinds that are there, one often comes three times as often as the other.
    pairs = [sorted(map(plan.count, set(plan))) for plan in plans if len(set(plan)) == 2 and len(plan) > 15]
    assert sum(less * 3 < more for less, more in pairs) > len(pairs) / 5


def test_a_fault_without_what_it_needs_is_refused() -> None:
    with pytest.raises(PlanError, match="partition needs 'group'"):
        build("partition", {"at": 1}, ["a", "b"])


def test_latency_may_go_by_regions_and_each_cast_has_its_own_distances(tmp_path: Path) -> None:
    text = (
        "peers:\n  - {count: 2, name: eu, region: eu}\n  - {count: 2, name: us, provider: us}\n"
        "network: {latency: {regions: {near: 0.001, far: 0.5, jitter: 0, between: [[us, eu, 0.09]]}}}\n"
        "safety: 3\nliveness: {within: 30}\n"
    )
    story = read_story(story_of(tmp_path, text))
    weather = story.weather_there()
    generator = World(1).kernel.generator("x")
    delays = [weather.latency.delay(*pair, generator) for pair in ((0, 1), (2, 3), (0, 2), (3, 1))]
    assert max(delays[:2]) < 0.0014 and 0.06 <= min(delays[2:]) <= max(delays[2:]) <= 0.12
    assert weather.latency.delay(2, 0, generator) == delays[2]  # sticky
    small = story.scaled(2).weather_there().latency
    assert small.delay(0, 1, generator) > 0.06, "one of each region, though these numbers were neighbours"
    assert run_story(story, 1).hash == run_story(story, 1).hash


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        ("{regions: {nere: 0.1}}", "'nere' is none of near, far, jitter, between; did you mean 'near'?"),
        ("{regions: {between: [[eu, 0.1]]}}", "between needs rows of two regions and seconds"),
        ("{regions: 5}", "regions needs keys"),
        ("{region: {}}", "'region' is none of uniform, lognormal, regions; did you mean 'regions'?"),
    ],
)
def test_wrong_regions_are_told(tmp_path: Path, latency: str, said: str) -> None:
    line = complaint(tmp_path, f"network:\n  latency: {latency}\n")
    assert line.startswith(f"/story.yaml:2:12: network.latency: {said}")


def test_every_key_of_the_network_arrives_there(tmp_path: Path) -> None:
    text = (
        "network: {latency: 0.02, loss: 0.1, burst: [0.1, 0.2, 0.3], duplication: 0.2, reordering: 0.3,\n"
        "  reorder_delay: 0.4, corruption: 0.5, mtu: 1300, mapping_seconds: 20, carrier: fluid, wire: real}\n"
    )
    story = read_story(story_of(tmp_path, text))
    assert (story.carrier, story.wire) == ("fluid", "real")
    assert story.weather_there() == Weather(
        latency=Constant(0.02), loss=0.1, burst=BurstLoss(0.1, 0.2, 0.3), duplication=0.2, reordering=0.3,
        reorder_delay=0.4, corruption=0.5, mtu=1300, mapping_seconds=20.0,
    )  # fmt: skip
