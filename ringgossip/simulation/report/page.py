"""The page: which charts a run or a batch of seeds deserves, and the words around them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ringgossip.simulation.report.charts import Point, bars, heat, lanes, lines, number_text
from ringgossip.simulation.report.timeline import RunReport, Timeline, rates

_STEPS = 120
_MOST_PEERS = 60  # rows of a chart that a person can read
_MOST_ARTIFACTS = 24
_MARKS = {"suspected": "suspected", "lost": "lost", "left": "left", "recovered": "back", "restarted": "back"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fbfbf9; --faint: #d9dde3; --soft: #667080;
  --main: #2563a8; --band: #2563a833; --good: #1f7a45; --bad: #b3261e; --warn: #b26a00; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181d; --faint: #333b45;
  --soft: #98a2b0; --main: #6aa7ea; --band: #6aa7ea33; --good: #62c48d; --bad: #f2817a; --warn: #e6ad55;
  --card: #1b2027; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 800px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 4px; } h2 { font-size: 1.1rem; margin: 28px 0 4px; }
p { margin: 4px 0 8px; } .soft, figcaption { color: var(--soft); font-size: 0.9rem; }
figure { margin: 0; padding: 8px; background: var(--card); border: 1px solid var(--faint);
  border-radius: 6px; overflow-x: auto; }
svg { display: block; } code { font-size: 0.85rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--faint); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.pass { color: var(--good); font-weight: 600; } .fail { color: var(--bad); font-weight: 600; }
.label { font: 11px system-ui, sans-serif; fill: var(--soft); }
.axis { stroke: var(--soft); } .grid { stroke: var(--faint); }
.limit { stroke: var(--bad); stroke-width: 1.5; }
.line { fill: none; stroke: var(--main); stroke-width: 2; } .thin { fill: none; stroke: var(--main);
  stroke-width: 1; stroke-opacity: 0.55; } .band { fill: var(--band); }
.bar, .held { fill: var(--main); } .down { fill: var(--faint); } .fault { fill: var(--warn); }
.suspected { fill: var(--warn); } .false { fill: var(--bad); } .lost { fill: var(--ink); }
.left { fill: var(--soft); } .back { fill: var(--good); }
"""


def render(reports: Sequence[RunReport]) -> str:
    """Return the page of one or several runs of one story; details are those of the first that failed."""
    failed = [report for report in reports if not report.result["passed"]]
    shown = (failed or list(reports))[0]
    timeline = shown.timeline
    sections = [
        _head(reports, shown, len(failed)),
        _checks(shown.result, len(reports)),
        _section(
            "Convergence",
            "Share of all copies that are complete, over the time since each file was published"
            + (f": median and 10 to 90 % of {len(reports)} seeds." if len(reports) > 1 else "."),
            _convergence(reports),
        ),
        _section("Time to copy", "How many copies took how long.", _histogram(reports)),
        _section("Copies of each artifact", "Every line is one version of one file.", _copies(timeline)),
        _section(
            "Who held what, when",
            "One row a peer; full colour: it holds all that was published until then.",
            _held(timeline),
        ),
        _section(
            "Membership",
            "Faults above. Orange: suspected, red: suspected although nothing was wrong, "
            "dark: declared dead, green: back. Rows are those spoken about.",
            _membership(timeline),
        ),
        _section(
            "Uplinks",
            "Highest sending rate of chunks in MB/s; the red mark is what the uplink allows.",
            _uplinks(timeline),
        ),
        _section("Chunk sources", "MB of chunks that each peer gave to others.", _sources(timeline)),
        _measures(shown.result),
    ]
    title = escape(f"{shown.result['story']}, seed {shown.result['seed']}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _head(reports: Sequence[RunReport], shown: RunReport, failed: int) -> str:
    result = shown.result
    verdict = (
        '<span class="pass">every promise held</span>'
        if not failed
        else f'<span class="fail">{failed} of {len(reports)} seeds broke a promise</span>'
    )
    about = f"<p>{escape(shown.about)}</p>" if shown.about else ""
    return (
        f"<h1>{escape(str(result['story']))}</h1>{about}<p>{verdict}</p>"
        f'<p class="soft">seed {escape(str(result["seed"]))}, {len(shown.timeline.peers)} peers, '
        f"{shown.timeline.seconds:.0f} virtual seconds, run {escape(str(result['hash']))[:16]}<br>"
        f"<code>{escape(shown.command)}</code></p>"
    )


def _section(name: str, words: str, chart: str) -> str:
    if not chart:
        return ""
    return f'<h2>{escape(name)}</h2><p class="soft">{escape(words)}</p><figure>{chart}</figure>'


def _checks(result: Mapping[str, Any], runs: int) -> str:
    rows = []
    for promise in result["promises"]:
        held = promise["passed"]
        word = '<span class="pass">held</span>' if held else '<span class="fail">broken</span>'
        said = ": ".join(part for part in (promise["sentence"], promise["detail"]) if part)
        rows.append(f"<tr><td>{escape(promise['name'])}</td><td>{word}</td><td>{escape(said)}</td></tr>")
    words = f", in the seed shown of {runs}" if runs > 1 else ""
    return f"<h2>Checks{escape(words)}</h2><figure><table>{''.join(rows)}</table></figure>"


def _measures(result: Mapping[str, Any]) -> str:
    rows = []
    for name, value in result["measures"].items():
        said = number_text(value) if isinstance(value, int | float) else str(value)
        words = escape(str(name).replace("_", " "))
        rows.append(f'<tr><td>{words}</td><td class="number">{escape(said)}</td></tr>')
    return f"<h2>Measures</h2><figure><table>{''.join(rows)}</table></figure>" if rows else ""


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _convergence(reports: Sequence[RunReport]) -> str:
    times = [report.timeline.copy_seconds() for report in reports]
    longest = max((one[-1] for one in times if one), default=0.0)
    if not longest:
        return ""
    curves = []
    for one in times:
        if not one:
            continue
        curve, done = [], 0
        for step in range(_STEPS + 1):
            while done < len(one) and one[done] <= longest * step / _STEPS:
                done += 1
            curve.append(done / len(one))
        curves.append(curve)
    at = [longest * step / _STEPS for step in range(_STEPS + 1)]

    def line(share: float) -> list[Point]:
        return [(at[step], _quantile([curve[step] for curve in curves], share)) for step in range(_STEPS + 1)]

    band = (line(0.1), line(0.9)) if len(curves) > 1 else None
    return lines([("median", "line", line(0.5))], band, 1.0, longest, "share of copies over time", True)


def _histogram(reports: Sequence[RunReport]) -> str:
    values = sorted(value for report in reports for value in report.timeline.copy_seconds())
    if not values:
        return ""
    longest, bins = values[-1] or 1.0, 16
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / longest * bins))] += 1
    rows: list[tuple[str, float, float | None, str]] = [
        (
            f"to {number_text(longest * (number + 1) / bins)} s",
            float(count),
            None,
            f"{count} copies took {longest * number / bins:.2f} to {longest * (number + 1) / bins:.2f} s",
        )
        for number, count in enumerate(counts)
    ]
    return bars(rows, "copies by how long they took", "")


def _copies(timeline: Timeline) -> str:
    series = []
    for one in timeline.publications[:_MOST_ARTIFACTS]:
        points: list[Point] = [(one.at, 1.0)]
        for number, (at, _) in enumerate(one.copies):
            points += [(at, 1.0 + number), (at, 2.0 + number)]
        points.append((timeline.seconds, points[-1][1]))
        series.append((f"{one.artifact} version {one.sequence}", "thin", points))
    if not series:
        return ""
    top = max(points[-1][1] for _, _, points in series)
    return lines(series, None, top, timeline.seconds, "copies of each version over time")


def _held(timeline: Timeline) -> str:
    if not timeline.publications:
        return ""
    names = timeline.peers[:_MOST_PEERS]
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


def _membership(timeline: Timeline) -> str:
    about: dict[str, list[tuple[float, str, str]]] = {}
    for one in timeline.seen:
        style = "false" if one.false and one.what == "suspected" else _MARKS.get(one.what)
        if style is not None:
            hint = f"{one.about} {one.what}, says {one.by}, at {one.at:.2f} s"
            about.setdefault(one.about, []).append((one.at, style, hint))
    rows = [(name, about[name]) for name in timeline.peers if name in about][:_MOST_PEERS]
    faults = [(bar.text, bar.begin, bar.end) for bar in timeline.faults[:200]]
    if not rows and not faults:
        return ""
    title = "faults, and what was said of members"
    return lanes(faults, rows, timeline.faults_stop_at, timeline.seconds, title)


def _uplinks(timeline: Timeline) -> str:
    rows: list[tuple[str, float, float | None, str]] = []
    for name, mean, highest, limit in rates(timeline)[:_MOST_PEERS]:
        hint = f"{name}: mean {mean / 1e6:.2f} MB/s while it sent, highest {highest / 1e6:.2f}"
        rows.append((name, highest / 1e6, None if limit is None else limit / 1e6, hint))
    return bars(rows, "highest sending rates", "") if any(row[1] for row in rows) else ""


def _sources(timeline: Timeline) -> str:
    if not timeline.sent:
        return ""
    total = sum(timeline.sent[-1]) or 1
    rows: list[tuple[str, float, float | None, str]] = [
        (name, amount / 1e6, None, f"{name} gave {amount / 1e6:.2f} MB, {amount / total:.0%} of all")
        for name, amount in zip(timeline.peers, timeline.sent[-1], strict=True)
        if amount
    ]
    rows.sort(key=lambda row: -row[1])
    return bars(rows[:_MOST_PEERS], "chunk bytes given by each peer", "") if rows else ""
