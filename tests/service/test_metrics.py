"""Can a Prometheus read what we say, under the names that dashboards draw?"""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from ringgossip import events
from ringgossip.service.metrics import Metrics, PeerCollector
from ringgossip.service.tally import Tally

MODEL = "models/gpu-1/m.pth"


def collector(node: str, counters: Mapping[str, int]) -> PeerCollector:
    tally = Tally(lambda: 5.0)
    for event in (
        events.ArtifactAnnounced(MODEL, 1, 5000),
        events.TransferStarted(MODEL, 1, 5000, 1),
        events.ArtifactCompleted(MODEL, 1, 5000, "/r"),
        events.CopyConfirmed(MODEL, 1, 'a"b\\c'),
        events.TransferStalled("games/gpu-2/g.db", 1, "x"),
    ):
        tally.hear(event)
    return PeerCollector(
        node, tally, lambda: counters, lambda: {"members_alive": ("Members alive", 3.0)}, lambda: {"games": 2}
    )


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def labels(data_type: str, peer: str, direction: str) -> tuple[tuple[str, str], ...]:
    return (("data_type", data_type), ("direction", direction), ("peer", peer))


def test_the_five_names_of_the_dashboards_are_there() -> None:
    found = samples(Metrics(collector("n", {})).text())
    received = labels("models", "gpu-1", "receive")
    assert found[("sync_operations_total", received)] == 1
    assert found[("sync_bytes_transferred", received)] == 5000
    assert found[("sync_failures_total", labels("games", "gpu-2", "receive"))] == 1
    assert found[("sync_duration_seconds_count", labels("models", "", "receive"))] == 1
    assert found[("sync_queue_depth", labels("games", "", "receive"))] == 2


def test_a_holder_with_odd_letters_in_its_name_is_quoted() -> None:
    found = samples(Metrics(collector("n", {})).text())
    assert found[("sync_operations_total", labels("models", 'a"b\\c', "send"))] == 1


def test_everything_the_peer_counts_and_its_process_is_there() -> None:
    found = samples(Metrics(collector("n", {"chunk_bytes_sent": 7, "odd name_total": 1})).text())
    assert found[("ringgossip_chunk_bytes_sent_total", ())] == 7
    assert found[("ringgossip_odd_name_total", ())] == 1
    assert found[("ringgossip_members_alive", ())] == 3
    assert found[("ringgossip_events_total", (("event", "ArtifactCompleted"),))] == 1
    assert found[("process_resident_memory_bytes", ())] > 0


def test_a_histogram_grows_with_its_bounds() -> None:
    found = samples(Metrics(collector("n", {})).text())
    buckets = [value for (name, _), value in found.items() if name == "sync_duration_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1


def test_two_peers_in_one_process_do_not_share_their_numbers() -> None:
    one, two = Metrics(collector("one", {"x": 1})), Metrics(collector("two", {"x": 2}))
    assert samples(one.text())[("ringgossip_x_total", ())] == 1
    assert samples(two.text())[("ringgossip_x_total", ())] == 2
