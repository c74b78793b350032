"""The page: what a run or a batch of seeds came to, in words and tables, and the charts between them."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from ringgossip.simulation.promises import MEASURES
from ringgossip.simulation.report import views
from ringgossip.simulation.report.charts import number_text
from ringgossip.simulation.report.timeline import RunReport, Timeline

_MOST_FAILED = 20  # seeds that are named
_KEYS = {
    "suspected": "suspected",
    "lost": "declared dead",
    "false": "either, although it ran and could be reached",
    "left": "left",
    "back": "back",
}

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
svg { display: block; width: 100%; height: auto; } .tight { display: none; max-width: 480px; margin: 0 auto; }
code { font-size: 0.85rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
td, th { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--faint); vertical-align: top; }
figure + figure { margin-top: 8px; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pass { color: var(--good); font-weight: 600; } .fail { color: var(--bad); font-weight: 600; }
.label { font: 11px system-ui, sans-serif; fill: var(--soft); } .on { fill: var(--paper); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 12px 0 0; } .facts div { min-width: 96px; }
.facts dt { color: var(--soft); font-size: 0.8rem; } .facts dd { margin: 0; font-size: 1.15rem; }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; }
@media (max-width: 760px) { .roomy { display: none; } .tight { display: block; } }
@media (max-width: 640px) { body { padding: 12px; } figure { padding: 6px; }
  .wide tr { display: block; padding: 4px 0; border-bottom: 1px solid var(--faint); }
  .wide td[data-word]::before { content: attr(data-word) " "; color: var(--soft); }
  .wide td, .wide th { display: inline-block; border: 0; padding: 1px 6px; } .wide td.said { display: block; }
  .wide tr.head { display: none; } }
.axis { stroke: var(--soft); } .grid { stroke: var(--faint); }
.limit { stroke: var(--bad); stroke-width: 1.5; }
.line { fill: none; stroke: var(--main); stroke-width: 2; } .thin { fill: none; stroke: var(--main);
  stroke-width: 1; stroke-opacity: 0.55; } .band { fill: var(--band); }
.bar, .held { fill: var(--main); } .down { fill: var(--faint); } .fault { fill: var(--warn); }
.suspected { fill: var(--warn); } .false { fill: var(--bad); } .lost { fill: var(--ink); }
.left { fill: var(--soft); } .back { fill: var(--good); }
.key { display: inline-block; margin-right: 16px; } .key svg { display: inline; width: 9px; height: 9px; }
"""


def render(reports: Sequence[RunReport]) -> str:
    """Return the page of one or several runs of one story; details are those of the first that failed."""
    failed = [report for report in reports if not report.result["passed"]]
    shown = (failed or list(reports))[0]
    timeline, runs = shown.timeline, len(reports)
    of_shown = f" Of seed {shown.result['seed']}." if runs > 1 else ""
    up_map, up_share = views.use_of_lines(timeline)
    down_map, down_share = views.use_of_downlinks(timeline)
    sections = [
        _head(reports, shown, failed),
        _checks(reports, shown.result),
        _section(
            "Convergence",
            "Share of all copies that are complete, over the time since each file was published"
            + (f": median (line) and 10 to 90 % (band) of {runs} seeds." if runs > 1 else "."),
            views.convergence(reports),
        ),
        _section(
            "Time to copy",
            "How many copies took how long" + (f", in all {runs} seeds." if runs > 1 else "."),
            views.histogram(reports),
        ),
        _section(
            "Copies of each artifact",
            "Every line is one version of one file, and how many peers hold it or a later one."
            + _some(views.MOST_ARTIFACTS, len(timeline.publications), "versions") + of_shown,
            views.copies(timeline),
        ) + _published(timeline),
        _section(
            "Who held what, when",
            "One row a peer; full colour: it holds all that was published until then."
            + _some(views.MOST_PEERS, len(timeline.peers)) + of_shown,
            views.held(timeline),
        ),
        _membership(timeline, of_shown),
        _section(
            "Uplinks",
            "What left each peer, as a share of what its uplink allows (where nothing limits it, of the "
            f"highest rate of all); full colour: {_percent(up_share)}."
            + _some(views.MOST_PEERS, len(timeline.peers)) + of_shown,
            up_map,
        ),
        _section(
            "Downlinks",
            "Chunks that came to each peer, as a share of what its downlink allows; each counts once whole. "
            f"Full colour: {_percent(down_share)}."
            + _some(views.MOST_PEERS, len(timeline.peers)) + of_shown,
            down_map,
        ),
        _section(
            "The busiest of them",
            "Mean rate while there was more to send than probes; the red mark is what the uplink allows."
            + _some(views.MOST_BARS, len(timeline.peers)) + of_shown,
            views.busiest(timeline),
        ),
        _section(
            "Chunk sources",
            "Bytes of chunks that each peer gave to others." + _shared(timeline)
            + _some(views.MOST_BARS, len(timeline.peers)) + of_shown,
            views.sources(timeline),
        ),
        _section(
            "From whom to whom",
            "Bytes of chunks on each link: a row gives, a column takes, both in the same order; full colour: "
            "most of all."
            + _some(views.MOST_PEERS, len(timeline.peers)) + of_shown,
            views.between(shown),
        ) + _links(shown),
        _measures(reports),
    ]  # fmt: skip
    title = escape(f"{shown.result['story']}, seed {shown.result['seed']}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.2%}"


def _some(shown: int, there: int, what: str = "peers") -> str:
    return f" {shown} of {there} {what} are shown." if there > shown else ""


def _shared(timeline: Timeline) -> str:
    share = views.from_others(timeline)
    return f" {share:.0%} came from peers that had published nothing." if share else ""


def _head(reports: Sequence[RunReport], shown: RunReport, failed: Sequence[RunReport]) -> str:
    result = shown.result
    broken = [each["name"] for each in result["promises"] if _broken(each)]
    if "crash" in result:
        broken.append("a machine crashed")
    what = escape(", ".join(broken) or "a promise")
    never = _never(reports)
    if not failed and never:
        said = escape(", ".join(never))
        verdict = f'<span class="fail">Every promise held, and no seed ever saw {said}.</span>'
    elif not failed:
        verdict = '<span class="pass">Every promise held.</span>'
    elif len(reports) == 1:
        verdict = f'<span class="fail">Broken: {what}.</span>'
    else:
        numbers = ", ".join(str(report.result["seed"]) for report in failed[:_MOST_FAILED])
        more = "" if len(failed) <= _MOST_FAILED else ", ..."
        verdict = (
            f'<span class="fail">{len(failed)} of {len(reports)} seeds broke a promise: {numbers}{more}.'
            f"</span> The first of them broke {what}."
        )
    about = f"<p>{escape(shown.about)}</p>" if shown.about else ""
    crash = f'<p class="fail">{escape(str(result["crash"]))}</p>' if "crash" in result else ""
    seeds = f"seed {escape(str(result['seed']))}" + (f" shown of {len(reports)}" if len(reports) > 1 else "")
    alone = f"<br>this seed alone: <code>{escape(shown.alone)}</code>" if shown.alone else ""
    return (
        f"<h1>{escape(str(result['story']))}</h1>{about}<p>{verdict}</p>{crash}"
        f'<p class="soft">{seeds}, {len(shown.timeline.peers)} peers, '
        f"{shown.timeline.seconds:.0f} virtual seconds, run {escape(str(result['hash']))}<br>"
        f"<code>{escape(shown.command)}</code>{alone}</p>{_facts(result['measures'])}"
    )


_FACTS = (
    ("bound_ratio", "times the least time possible", ""),
    ("copy_seconds_median", "median copy", " s"),
    ("copy_seconds_last", "slowest copy", " s"),
    ("settle_seconds", "settled after faults in", " s"),
    ("false_deaths", "false deaths", ""),
    ("deaths_across_walls", "deaths across a partition", ""),
    ("datagrams_per_peer_second", "datagrams a peer and second", ""),
)


def _facts(measures: Mapping[str, float]) -> str:
    """The handful of numbers that a reader looks for first."""
    said = [
        f"<div><dt>{words}</dt><dd>{escape(number_text(measures[name]))}{unit}</dd></div>"
        for name, words, unit in _FACTS
        if name in measures
    ]
    return f'<dl class="facts">{"".join(said)}</dl>' if said else ""


def _section(name: str, words: str, chart: str) -> str:
    if not chart:
        return ""
    return f'<h2>{escape(name)}</h2><p class="soft">{escape(words)}</p><figure>{chart}</figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Return a table; on a telephone every row becomes a block of words."""
    styles = [' class="number"' if column in numbers else "" for column in range(len(head))]
    words = [f"<th{style}>{escape(word)}</th>" for style, word in zip(styles, head, strict=True)]
    lines = [f'<tr class="head">{"".join(words)}</tr>']
    for row in rows:
        cells = []
        for word, style, above in zip(row, styles, head, strict=True):
            said = f' data-word="{escape(above)}"' if style and word else ""
            cells.append(f"<td{style}{said}>{escape(word)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<figure><table class="wide">{"".join(lines)}</table></figure>'


def _published(timeline: Timeline) -> str:
    """When was what published, and how long did it take to half of those who got it, and to the last?"""
    rows = []
    for one in timeline.publications[: views.MOST_ARTIFACTS]:
        took = [at - one.at for at, _ in one.copies]
        half, last = (f"{took[place]:.2f} s" if took else "" for place in ((len(took) - 1) // 2, -1))
        rows.append(
            (f"{one.artifact} version {one.sequence}", f"{one.size / 1e6:.3g} MB", f"{one.at:.1f} s",
             str(len(took)), half, last)
        )  # fmt: skip
    head = ("version", "size", "published", "copies", "half after", "last after")
    return _table(head, rows, numbers=range(1, 6)) if rows else ""


def _links(report: RunReport) -> str:
    rows = []
    for source, target, amount, limit in views.busiest_links(report):
        could = "no limit" if limit is None else f"{limit / 1e6:.3g} MB/s"
        share = "" if limit is None else f"{amount / limit / report.timeline.seconds:.1%}"
        rows.append((f"{source} to {target}", f"{amount / 1e6:.3g} MB", could, share))
    head = ("the busiest links", "chunks", "could carry", "of what the run allowed")
    return _table(head, rows, numbers=range(1, 4)) if rows else ""


def _membership(timeline: Timeline, of_shown: str) -> str:
    chart = views.membership(timeline)
    if not chart:
        return '<h2>Membership</h2><p class="soft">Nobody was suspected, and nothing went wrong.</p>'
    words = "Faults above; below, what was said of members. Rows are those spoken about." + of_shown
    dot = '<svg viewBox="0 0 8 8" aria-hidden="true"><circle class="{}" cx="4" cy="4" r="4"/></svg> {}'
    keys = "".join(f'<span class="key">{dot.format(style, said)}</span>' for style, said in _KEYS.items())
    return _section("Membership", words, f"<figcaption>{keys}</figcaption>{chart}")


def _never(reports: Sequence[RunReport]) -> list[str]:
    """Return what several seeds were to reach at least once, and none did."""
    wanted = [each["name"] for each in reports[0].result["promises"] if each["kind"] == "sometimes"]
    if len(reports) == 1:
        return []
    return [name for name in wanted if not any(each.result.get("seen", {}).get(name) for each in reports)]


def _broken(promise: Mapping[str, Any]) -> bool:
    return promise["kind"] != "sometimes" and not promise["passed"]


def _checks(reports: Sequence[RunReport], result: Mapping[str, Any]) -> str:
    runs = len(reports)
    rows = ['<tr class="head"><th>promise</th><th></th><th>after</th><th></th></tr>']
    for promise in result["promises"]:
        said = ": ".join(part for part in (promise["sentence"], promise["detail"]) if part)
        if promise["kind"] == "sometimes":
            # One seed need not reach it; a batch must.
            times = [report.result.get("seen", {}).get(promise["name"], 0) for report in reports]
            reached = sum(count > 0 for count in times)
            style = "pass" if reached else "fail" if runs > 1 else "soft"
            word = f'<span class="{style}">{"seen" if reached else "never seen"}</span>'
            said = f"{sum(times)} times" + (f", in {reached} of {runs} seeds" if runs > 1 else "")
        elif _broken(promise):
            word = '<span class="fail">broken</span>'
        else:
            word = '<span class="pass">held</span>'
        after = f"{promise['seconds']:.1f} s" if promise.get("seconds") is not None else ""
        rows.append(
            f"<tr><td>{escape(promise['name'])}</td><td>{word}</td><td>{after}</td>"
            f'<td class="said">{escape(said)}</td></tr>'
        )
    words = f", in the seed shown of {runs}" if runs > 1 else ""
    return f'<h2>Checks{escape(words)}</h2><figure><table class="wide">{"".join(rows)}</table></figure>'


def _measures(reports: Sequence[RunReport]) -> str:
    """Every measure of one run; of several the median, and between which values most seeds lie."""
    names = dict.fromkeys(name for report in reports for name in report.result["measures"])
    rows = []
    for name in names:
        values = [report.result["measures"][name] for report in reports if name in report.result["measures"]]
        said = number_text(views.quantile(values, 0.5))
        if len(values) > 1:
            low, high = (number_text(views.quantile(values, share)) for share in (0.1, 0.9))
            said += f" ({low} to {high})"
        rows.append(
            f'<tr><td>{escape(name.replace("_", " "))}</td><td class="number">{escape(said)}</td>'
            f'<td class="said soft">{escape(MEASURES.get(name, ""))}</td></tr>'
        )
    words = ": median, and 10 to 90 % of the seeds" if len(reports) > 1 else ""
    table = f'<figure><table class="wide">{"".join(rows)}</table></figure>'
    return f"<h2>Measures{words}</h2>{table}" if rows else ""
