"""What may Prometheus read of a peer? Gathered when it asks, from a registry of this peer's own.

The five `sync_*` names are those that dashboards of the reference already
draw. `sync_bytes_transferred` is a gauge for that reason: promtool wants
`_total` behind counters. Everything a peer counts is there too, as
`ringgossip_*_total`. Loaded only where `status:` is switched on.
"""

import os
import re
import resource
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ringgossip import __version__
from ringgossip.service.tally import BUCKETS, RECEIVED, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABELS = ("data_type", "peer", "direction")
_NO_LETTER = re.compile(r"[^a-z0-9_]")


class PeerCollector(Collector):
    """Turns one peer's numbers into metrics. `gauges` gives name -> (meaning, value)."""

    def __init__(
        self,
        node: str,
        tally: Tally,
        counters: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, tuple[str, float]]],
        queue: Callable[[], Mapping[str, int]],
    ) -> None:
        self._node = node
        self._tally = tally
        self._counters = counters
        self._gauges = gauges
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        """Return every metric as it is now."""
        yield InfoMetricFamily(
            "ringgossip", "Who this is", value={"node": self._node, "version": __version__}
        )
        yield from self._sync()
        for name, value in sorted(self._counters().items()):
            safe = _NO_LETTER.sub("_", name.lower()).removesuffix("_total")
            yield CounterMetricFamily(f"ringgossip_{safe}", f"Counted by the peer: {safe}", value=value)
        for name, (meaning, number) in sorted(self._gauges().items()):
            yield GaugeMetricFamily(f"ringgossip_{name}", meaning, value=number)
        events = CounterMetricFamily("ringgossip_events", "Events told to the application", labels=("event",))
        for event, count in sorted(self._tally.events.items()):
            events.add_metric((event,), count)
        yield events

    def _sync(self) -> Iterable[Metric]:
        tally = self._tally
        operations = CounterMetricFamily(
            "sync_operations", "Artifacts that came, by origin, or were confirmed, by holder", labels=_LABELS
        )
        moved = GaugeMetricFamily(
            "sync_bytes_transferred", "Bytes of those artifacts since the peer started", labels=_LABELS
        )
        failures = CounterMetricFamily(
            "sync_failures", "Transfers that stalled, were rejected or got bad chunks", labels=_LABELS
        )
        for family, numbers in (
            (operations, tally.operations),
            (moved, tally.bytes),
            (failures, tally.failures),
        ):
            for labels, number in sorted(numbers.items()):
                family.add_metric(labels, number)
            yield family
        lasted = HistogramMetricFamily("sync_duration_seconds", "From start to completion", labels=_LABELS)
        for kind, durations in sorted(tally.durations.items()):
            sum_so_far, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), durations.counts, strict=True):
                sum_so_far += count
                buckets.append((bound, sum_so_far))
            lasted.add_metric((kind, "", RECEIVED), buckets, durations.total)
        yield lasted
        waiting = GaugeMetricFamily(
            "sync_queue_depth", "Artifacts wanted here and not complete", labels=_LABELS
        )
        for kind, count in sorted(self._queue().items()):
            waiting.add_metric((kind, "", RECEIVED), count)
        yield waiting


class Metrics:
    """A registry of this peer's own: two peers may live in one process."""

    def __init__(self, collector: PeerCollector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self._registry)


def process_facts() -> dict[str, Any]:
    """Return what the process itself costs: seconds of CPU, bytes resident, descriptors."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        resident, descriptors = usage.ru_maxrss * 1024, 0
    return {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "resident_bytes": resident,
        "descriptors": descriptors,
    }
