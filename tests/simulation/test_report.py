"""Is the report whole, and can a person read it? The second half asks a real browser."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ringgossip.config.words import KINDS
from ringgossip.events import PeerSuspected
from ringgossip.protocol.rules import RuleSettings
from ringgossip.simulation.checks_members import MemberChecks
from ringgossip.simulation.faults import Crash, Partition, Pause
from ringgossip.simulation.report import RunReport, Samples, collect, render
from ringgossip.simulation.report.charts import lanes, matrix, number_text, short, ticks
from ringgossip.simulation.report.timeline import uses
from ringgossip.simulation.report.views import use_of_lines
from ringgossip.simulation.world import PeerSpec, World


def a_run(seed: int, passed: bool = True) -> RunReport:
    everything = RuleSettings(want=KINDS)
    specs = [PeerSpec(f"peer-{number}", up=50e6, down=90e6, rules=everything) for number in range(5)]
    world = World(specs, seed=seed, carrier="pieces")
    world.start()
    world.plan([Crash(6.0, 3, 4.0), Pause(8.0, 2, 3.0)])
    samples = Samples()
    for step in range(40):
        if step == 20:
            world.publish(0, "models", "<best>.pth", size=4_000_000)
        world.run(0.25)
        samples.take(world)
    faults_stop_at = world.now
    assert world.settle(within=60) is not None
    samples.take(world)
    promise = {"name": "S1", "kind": "always", "passed": passed, "sentence": "only whole", "detail": ""}
    result = {"story": "a <story>", "seed": seed, "hash": world.run_hash, "passed": passed}
    result |= {"promises": [promise], "measures": {"settle_seconds": 1.5}}
    timeline = collect(world, samples, faults_stop_at)
    command = f"ringgossip simulate s --seed {seed}"
    return RunReport(result, timeline, command, flows={(0, 1): 4_000_000, (1, 2): 1_000_000})


@pytest.fixture(scope="module")
def page() -> str:
    return render([a_run(1), a_run(2, passed=False)])


def test_a_timeline_has_every_copy_and_what_was_said_of_the_killed() -> None:
    timeline = a_run(1).timeline
    [published] = timeline.publications
    assert {name for _, name in published.copies} == {f"peer-{number}" for number in range(1, 5)}
    assert all(at >= published.at for at, _ in published.copies)
    assert {one.about for one in timeline.seen if one.what == "suspected"} >= {"peer-3"}
    assert sum(timeline.sent[-1]) >= 4 * 4_000_000
    assert len(timeline.faults) == 2


def test_who_has_a_later_version_lacks_nothing() -> None:
    world, samples = World(3, seed=1), Samples()
    world.start()
    world.run(2.0)
    world.plan([Partition(world.now, (2,), seconds=4.0)])
    for _ in range(2):
        world.publish(0, "models", "best.pth", size=1_000_000)
        world.run(2.0)
    world.run(10.0)
    first, second = collect(world, samples, world.now).publications
    assert {name for _, name in first.copies} == {name for _, name in second.copies} == {"peer-1", "peer-2"}
    late = {name: at for at, name in first.copies}["peer-2"]
    assert (late, "peer-2") in second.copies, "it never had the first"


def test_the_page_needs_nothing_else_and_closes_what_it_opens(page: str) -> None:
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                assert name not in ("src", "href") or (value or "").startswith("data:"), (tag, name, value)
            if tag not in ("meta", "link", "br"):
                open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert open_tags == []
    assert "<script" not in page and "<best>" not in page and "a &lt;story&gt;" in page


def test_the_page_shows_the_seed_that_failed_and_every_chart(page: str) -> None:
    assert "1 of 2 seeds broke a promise" in page and "--seed 2" in page
    for heading in ("Checks", "Convergence", "Time to copy", "Copies of each artifact", "Who held what",
                    "Membership", "Uplinks", "Downlinks", "Chunk sources", "From whom to whom",
                    "Measures"):  # fmt: skip
        assert f"<h2>{heading}" in page


def test_little_use_of_a_wide_line_is_seen_and_its_share_is_said() -> None:
    timeline = replace(a_run(1).timeline, uplinks=(1e10,) * 5)
    drawn, most = use_of_lines(timeline)
    assert 0.0 < most < 0.01 and 'fill-opacity="1.00"' in drawn
    whole, full = use_of_lines(replace(timeline, uplinks=(10.0,) * 5))
    assert full == 1.0 and 'fill-opacity="1.00"' in whole


def test_what_was_published_and_what_the_busiest_links_carried_is_said_in_numbers() -> None:
    report = a_run(1)
    page = render([report])
    [published] = report.timeline.publications
    last = published.copies[-1][0] - published.at
    assert "models/peer-0/&lt;best&gt;.pth version 1</td>" in page and f"{last:.2f} s</td>" in page
    # The uplink is the slower end of every link here.
    share = 4_000_000 / 50e6 / report.timeline.seconds
    row = page[page.index("peer-0 to peer-1") :].partition("</tr>")[0]
    assert "4 MB" in row and "50 MB/s" in row and f"{share:.1%}" in row


def test_a_report_of_several_seeds_says_how_to_run_the_one_it_shows() -> None:
    report = replace(a_run(1), command="simulate s --seeds 1..2", alone="simulate s --seed 1")
    head = render([report, report]).partition("<h2>")[0]
    assert "simulate s --seeds 1..2<" in head and "simulate s --seed 1<" in head


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 10.0, 5) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert ticks(0.0, 0.0) == [0.0]
    said = [number_text(value) for value in (0, 0.25, 5_678.4, 12_345, 2.5e6, 3e9)]
    assert said == ["0", "0.25", "5678", "12.3k", "2.5M", "3G"]


def test_a_long_name_keeps_the_number_at_its_end() -> None:
    assert short("selfplay-16", 11) == "selfplay-16"
    names = [short(f"selfplay-of-vast-{number}", 11) for number in (16, 17)]
    assert names == ["self…ast-16", "self…ast-17"]
    assert names[0] != names[1]


def test_a_link_that_carried_most_is_full_in_the_map_and_one_that_carried_nothing_is_not_there() -> None:
    drawn = matrix(["a", "b", "c"], {(0, 1): 1.0, (2, 0): 0.2}, "x").partition("tight")[0]
    assert re.findall(r'fill-opacity="([\d.]+)" d="M[^M"]*"', drawn) == ["0.3", "1.0"]
    assert drawn.count("<path") == 2


class Browser:
    """A headless Chromium, spoken to through its driver's HTTP interface."""

    def __init__(self, port: int, profile: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        flags = "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        flags += f" disable-component-update disable-sync user-data-dir={profile}"
        options = {"args": [f"--{flag}" for flag in flags.split()]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        request.method = method
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def post(self, path: str, body: object) -> Any:
        return self._call("POST", self._session + path, body)

    def get(self, path: str) -> Any:
        return self._call("GET", self._session + path)

    def run(self, script: str) -> Any:
        return self.post("/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, parameters: object) -> Any:
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("needs Debian's chromium and chromium-driver, which .ci/run installs")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "on port" in line and "success" in line)
        browser = Browser(int(line.rstrip(".\n").rpartition(" ")[2]), tmp_path_factory.mktemp("profile"))
        yield browser
        browser._call("DELETE", browser._session)
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_the_page_without_a_complaint(
    browser: Browser, page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(page)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.devtools("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.devtools("Emulation.setEmulatedMedia", {"features": features})
    browser.post("/url", {"url": file.as_uri()})
    deadline = time.monotonic() + 10.0
    while browser.run("return document.readyState") != "complete" and time.monotonic() < deadline:
        pass
    assert browser.post("/se/log", {"type": "browser"}) == []
    # Nothing is wider than the screen: not the page, and no chart in a frame of its own.
    assert browser.run("return document.documentElement.scrollWidth") <= width
    beyond = "e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0"
    beyond += " || (e.tagName == 'FIGURE' && e.scrollWidth > e.clientWidth)"
    assert browser.run(f"return [...document.body.querySelectorAll('*')].filter({beyond}).length") == 0
    shown = "s => s.getBoundingClientRect().width > 0"
    assert browser.run(f"return [...document.querySelectorAll('figure div svg')].filter({shown}).length") >= 9
    # Words of charts are not shrunk below what can be read.
    words = f"[...document.querySelectorAll('svg text')].filter({shown})"
    assert browser.run(f"return Math.min(...{words}.map(t => t.getBoundingClientRect().height))") >= 10
    colours = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    paper, ink = (
        sum(int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])
        for colour in browser.run(colours)
    )
    assert (paper > 600 and ink < 200) if scheme == "light" else (paper < 150 and ink > 600)
    assert len(base64.b64decode(browser.get("/screenshot"))) > 10_000


def promise(name: str, kind: str, passed: bool) -> dict[str, object]:
    return {"name": name, "kind": kind, "passed": passed, "sentence": "so it is", "detail": ""}


def test_what_only_some_seeds_must_reach_is_judged_over_all_of_them() -> None:
    reports = [a_run(1), a_run(2)]
    for report, times in zip(reports, (0, 3), strict=True):
        result: Any = report.result
        result["promises"] = [promise("PeerLost", "sometimes", times > 0)]
        result["seen"] = {"PeerLost": times}
    assert "3 times, in 1 of 2 seeds" in render(reports) and "Every promise held.<" in render(reports)
    one: Any = reports[1].result
    one["seen"] = {}
    assert "no seed ever saw PeerLost" in render(reports)
    assert "never seen" in render(reports[:1]) and "no seed ever" not in render(reports[:1])


def test_the_head_says_what_broke_and_how_far_from_the_bound_it_was() -> None:
    report = a_run(1)
    result: Any = report.result
    result |= {"passed": False, "promises": [promise("S3", "always", False)], "crash": "KeyError: <x>"}
    result["measures"] = {"bound_ratio": 1.25}
    page = render([report])
    assert "Broken: S3, a machine crashed." in page and "KeyError: &lt;x&gt;" in page
    assert "times the least time possible</dt><dd>1.25" in page


def test_only_a_suspicion_of_one_that_runs_and_can_be_reached_is_false() -> None:
    world = World(4, seed=1)
    members = MemberChecks(world, world.checks)
    world.start()
    world.run(3.0)
    world.plan([Crash(3.0, 2, 20.0), Partition(3.0, (1,), (), 4.0)])
    samples = Samples()
    samples.take(world)
    world.run(20.0)
    members.suspected(world.nodes[0], PeerSuspected("peer-3"))
    world.nodes[0].told.append((world.now, PeerSuspected("peer-3")))
    samples.take(world)
    seen = collect(world, samples, world.now, members.false_alarms).seen
    suspected = {one.about: one.false for one in seen if one.what == "suspected" and one.by == "peer-0"}
    assert suspected["peer-2"] is False and suspected["peer-3"] is True


@pytest.mark.parametrize("carrier", ["unlimited", "pieces", "fluid"])
def test_what_leaves_an_uplink_is_never_more_than_it_allows(carrier: str) -> None:
    limit = None if carrier == "unlimited" else 2e6
    world = World([PeerSpec(f"p-{i}", up=limit, rules=RuleSettings(want=KINDS)) for i in range(3)],
                  seed=1, carrier=carrier)  # fmt: skip
    world.start()
    world.run(3.0)
    samples = Samples()
    samples.take(world)
    world.publish(0, "models", "best.pth", size=8_000_000)
    for _ in range(80):
        world.run(0.25)
        samples.take(world)
    found = uses(collect(world, samples, world.now))
    assert 16e6 <= sum(use.total for use in found) < 24e6
    if limit is not None:
        # A piece that is under way at a look counts as gone.
        assert limit * 0.8 < found[0].mean <= found[0].highest <= limit * 1.05
        assert max(found[0].course) <= limit * 1.05


def test_names_of_faults_do_not_lie_on_each_other() -> None:
    faults = [(f"fault{number}: x", float(number % 7), float(number % 7 + 1)) for number in range(30)]
    for drawn in lanes(faults, [("a", [])], 9.0, 10.0, "x").split('<div class="tight">'):
        taken: dict[str, list[tuple[float, float]]] = {}
        label = r'<text class="label" x="([\d.]+)" y="([\d.]+)" text-anchor="start">(fault\d+)'
        for x, y, word in re.findall(label, drawn):
            taken.setdefault(y, []).append((float(x), float(x) + 6 * len(word)))
        assert sum(map(len, taken.values())) == 30
        for spans in taken.values():
            assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(spans)))
