"""Which charts does a run deserve, or a batch of seeds? SVG, or an empty text if there is nothing to see."""

from collections.abc import Sequence

from ringgossip.simulation.report.charts import Point, bars, columns, heat, lanes, lines, matrix
from ringgossip.simulation.report.timeline import RunReport, Timeline, Use, uses

STEPS = 120
MOST_PEERS = 60  # rows of a map that a person can read
MOST_BARS = 20
MOST_ARTIFACTS = 24
MOST_LINKS = 10
_BINS = 36
_MARKS = {"suspected": "suspected", "lost": "lost", "left": "left", "recovered": "back", "restarted": "back"}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of `values` lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def convergence(reports: Sequence[RunReport]) -> str:
    times = [report.timeline.copy_seconds() for report in reports]
    longest = max((one[-1] for one in times if one), default=0.0)
    if not longest:
        return ""
    curves = []
    for one in times:
        if not one:
            continue
        curve, done = [], 0
        for step in range(STEPS + 1):
            while done < len(one) and one[done] <= longest * step / STEPS:
                done += 1
            curve.append(done / len(one))
        curves.append(curve)
    at = [longest * step / STEPS for step in range(STEPS + 1)]

    def line(share: float) -> list[Point]:
        return [(at[step], quantile([curve[step] for curve in curves], share)) for step in range(STEPS + 1)]

    band = (line(0.1), line(0.9)) if len(curves) > 1 else None
    return lines([("median", "line", line(0.5))], band, 1.0, longest, "share of copies over time", True)


def histogram(reports: Sequence[RunReport]) -> str:
    values = sorted(value for report in reports for value in report.timeline.copy_seconds())
    if not values:
        return ""
    longest = values[-1] or 1.0
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int(value / longest * _BINS))] += 1
    marks = [("median", quantile(values, 0.5)), ("90 %", quantile(values, 0.9))]
    return columns(counts, longest, marks, "copies by how long they took")


def copies(timeline: Timeline) -> str:
    series = []
    for one in timeline.publications[:MOST_ARTIFACTS]:
        points: list[Point] = [(one.at, 1.0)]
        for number, (at, _) in enumerate(one.copies):
            points += [(at, 1.0 + number), (at, 2.0 + number)]
        points.append((timeline.seconds, points[-1][1]))
        series.append((f"{one.artifact} version {one.sequence}", "thin", points))
    if not series:
        return ""
    top = max(points[-1][1] for _, _, points in series)
    return lines(series, None, top, timeline.seconds, "copies of each version over time")


def held(timeline: Timeline) -> str:
    if not timeline.publications:
        return ""
    names = timeline.peers[:MOST_PEERS]
    steps = 96
    place = {name: number for number, name in enumerate(names)}
    gained = [[0] * (steps + 1) for _ in names]
    asked = [0] * (steps + 1)
    for one in timeline.publications:
        step = min(steps, int(one.at / timeline.seconds * steps) + 1)
        asked[step] += 1
        for at, name in ((one.at, one.by), *one.copies):
            if name in place:
                gained[place[name]][min(steps, int(at / timeline.seconds * steps) + 1)] += 1
    rows: list[list[float | None]] = []
    for number in range(len(names)):
        row: list[float | None] = []
        held = published = 0
        for step in range(steps):
            held += gained[number][step]
            published += asked[step]
            row.append(round(min(1.0, held / published), 2) if published else 0.0)
        rows.append(row)
    return heat(names, rows, timeline.seconds, "share of the files that each peer holds, over time")


def membership(timeline: Timeline) -> str:
    about: dict[str, list[tuple[float, str, str]]] = {}
    for one in timeline.seen:
        style = "false" if one.false else _MARKS.get(one.what)
        if style is not None:
            hint = f"{one.about} {one.what}, says {one.by}, at {one.at:.2f} s"
            about.setdefault(one.about, []).append((one.at, style, hint))
    rows = [(name, about[name]) for name in timeline.peers if name in about][:MOST_PEERS]
    faults = [(bar.text, bar.begin, bar.end) for bar in timeline.faults[:200]]
    if not rows and not faults:
        return ""
    title = "faults, and what was said of members"
    return lanes(faults, rows, timeline.faults_stop_at, timeline.seconds, title)


def use_of_lines(timeline: Timeline) -> tuple[str, float]:
    """A map of how much of each uplink (or of the highest rate) was in use, and what full colour means."""
    return _use_map(timeline, uses(timeline)[:MOST_PEERS], "uplink")


def use_of_downlinks(timeline: Timeline) -> tuple[str, float]:
    """The same of downlinks, if any has a limit."""
    if all(limit is None for limit in timeline.downlinks):
        return "", 0.0
    return _use_map(timeline, uses(timeline, down=True)[:MOST_PEERS], "downlink")


def _use_map(timeline: Timeline, found: Sequence[Use], line: str) -> tuple[str, float]:
    top = max((use.highest for use in found), default=0.0)
    if not top:
        return "", 0.0
    shares = [[min(1.0, rate / (use.limit or top)) for rate in use.course] for use in found]
    # Where lines are wide, a few percent of them are all that there is to see.
    most = max(max(row) for row in shares) or 1.0
    rows: list[list[float | None]] = [[round(share / most, 2) for share in row] for row in shares]
    names, title = [use.peer for use in found], f"share of its {line} that each peer used, over time"
    return heat(names, rows, timeline.seconds, title), most


def busiest(timeline: Timeline) -> str:
    found = sorted(uses(timeline), key=_busy)[:MOST_BARS]
    rows: list[tuple[str, float, float | None, str]] = []
    for use in found:
        hint = f"{use.peer}: {use.total / 1e6:.1f} MB in all, at most {use.highest / 1e6:.2f} MB/s"
        rows.append((use.peer, use.mean / 1e6, None if use.limit is None else use.limit / 1e6, hint))
    return bars(rows, "mean sending rates while busy", " MB/s") if any(row[1] for row in rows) else ""


def _busy(use: Use) -> float:
    return -(use.mean / use.limit if use.limit else use.mean)


def sources(timeline: Timeline) -> str:
    if not timeline.sent:
        return ""
    total = sum(timeline.sent[-1]) or 1
    rows: list[tuple[str, float, float | None, str]] = [
        (name, amount / 1e6, None, f"{name} gave {amount / 1e6:.2f} MB, {amount / total:.1%} of all")
        for name, amount in zip(timeline.peers, timeline.sent[-1], strict=True)
        if amount
    ]
    rows.sort(key=lambda row: -row[1])
    return bars(rows[:MOST_BARS], "chunk bytes given by each peer", " MB") if rows else ""


def between(report: RunReport) -> str:
    """A map of chunk bytes from each peer (row) to each other (column)."""
    names, flows = report.timeline.peers[:MOST_PEERS], report.flows
    top = max(flows.values(), default=0)
    cells = {pair: amount / top for pair, amount in flows.items() if amount and max(pair) < len(names)}
    return matrix(names, cells, "chunk bytes from whom to whom") if cells else ""


def busiest_links(report: RunReport) -> list[tuple[str, str, int, float | None]]:
    """Return (from, to, bytes, bytes a second that the slower of both ends allows), most bytes first."""
    timeline = report.timeline
    most = sorted(report.flows.items(), key=lambda flow: (-flow[1], flow[0]))[:MOST_LINKS]
    found = []
    for (source, target), amount in most:
        ends = (timeline.uplinks[source], timeline.downlinks[target])
        allowed = min((limit for limit in ends if limit is not None), default=None)
        found.append((timeline.peers[source], timeline.peers[target], amount, allowed))
    return found


def from_others(timeline: Timeline) -> float | None:
    """Return the share of all chunk bytes that did not come from who had published something."""
    if not timeline.sent or not sum(timeline.sent[-1]):
        return None
    origins = {one.by for one in timeline.publications}
    other = sum(
        amount for name, amount in zip(timeline.peers, timeline.sent[-1], strict=True) if name not in origins
    )
    return other / sum(timeline.sent[-1])
