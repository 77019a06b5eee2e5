"""The report in a real browser: clicks, keys, a phone, dark pages, a screen reader and paper."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.report.write_report import write_report
from tests.browser import Tab, browser
from tests.engine.report.report_runs import HELPED, make_run, measure, write_results
from tests.optional import needs_chromium

pytestmark = needs_chromium

SPEC = """
name: digits in a browser
data: {source: digits, train_per_class: 5}
plan: {balance_to: 17}
prompts: {mix: [{name: label, templates: ["a {class}"]}, {name: long, templates: ["the handwritten digit {class}"]}]}
model: {source: a/model}
output: {samples_per_shard: 64, image: {size: 16}}
sweep:
  alphas: [0, 0.5, 1]
  arms: {oversampling: {balance: oversample}, class_weights: {balance: class_weights}, all_images: {alpha: null}}
"""
SECTIONS = [
    "verdict", "curve", "alternatives", "balance", "distance", "confusion", "images", "gallery", "neighbours",
    "rejects", "strategies", "throughput", "stages", "provenance",
]  # fmt: skip
VISIBLE = "[...document.querySelectorAll('SELECTOR')].filter(e => e.checkVisibility())"
CUT_LABELS = """svg => {
  const a = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const b = text.getBoundingClientRect();
    return b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1;
  }).map(text => text.textContent);
}"""
TOUCHING = """(() => {
  const boxes = [...document.querySelectorAll(".dot span")].map(e => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, box], i) => boxes.slice(i + 1).filter(([b, other]) =>
    box.left < other.right && other.left < box.right && box.top + 1 < other.bottom && other.top + 1 < box.bottom
  ).map(([b]) => a + " and " + b));
})()"""
FOCUSED = """(() => {
  const element = document.activeElement, label = element.labels?.[0];
  const outlined = [element, label].some(e => e && getComputedStyle(e).outlineStyle !== "none");
  const box = (label ?? element).getBoundingClientRect();
  const all = [...document.querySelectorAll("*")];
  return {tag: element.tagName, id: element.id, place: all.indexOf(element), outlined,
    inView: box.bottom > 0 && box.top < innerHeight};
})()"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report with all sections, of a sweep in which noise helped."""
    run = make_run(tmp_path_factory.mktemp("browser"), SPEC)
    write_results(run, HELPED)
    measure(run, tmp_path_factory.mktemp("encoder"))
    return Path(write_report(run))


@pytest.fixture(scope="module")
def tabs() -> Iterator[tuple[Tab, Tab]]:
    with browser() as desktop_and_phone:
        yield desktop_and_phone


@pytest.fixture
def tab(tabs: tuple[Tab, Tab], report: Path) -> Tab:
    """Open the report on a desktop in light mode."""
    tabs[0].show(1100)
    tabs[0].open(report)
    return tabs[0]


def visible(tab: Tab, selector: str, of_each: str = "e.id") -> list[str]:
    """Return a property of each visible element that matches."""
    return list(tab.evaluate(f"{VISIBLE.replace('SELECTOR', selector)}.map(e => {of_each})"))


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (768, False), (360, False), (320, True)])
def test_report_fits_the_window(tabs: tuple[Tab, Tab], report: Path, width: int, dark: bool) -> None:
    tab = tabs[width < 600]
    tab.show(width, dark=dark)
    tab.open(report)
    assert visible(tab, "main > section") == SECTIONS
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    curves = "[...document.querySelectorAll('.chart svg')].filter(svg => svg.getBoundingClientRect().width > 0)"
    assert tab.evaluate(f"{curves}.length") == 1
    assert tab.evaluate(f"{curves}.flatMap({CUT_LABELS})") == []
    assert tab.evaluate(TOUCHING) == []
    assert tab.evaluate("document.querySelector('.verdict').getBoundingClientRect().bottom < innerHeight")
    assert tab.requested == []
    pixels = cv2.imdecode(np.frombuffer(tab.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    margin = pixels[:, :4].mean()
    assert margin < 60 if dark else margin > 200


def test_click_switches_the_confusion_matrix(tab: Tab) -> None:
    assert visible(tab, ".matrix h3", "e.firstChild.data") == ["alpha* 0.5"]
    for place, name in ((0, "alpha 0"), (3, "oversampling"), (6, "oracle")):
        tab.click(f"label[for=arm-{place}]")
        assert visible(tab, ".matrix h3", "e.firstChild.data") == [name]
        assert len(visible(tab, ".heat tbody tr")) == 10


def test_arrow_keys_switch_the_confusion_matrix(tab: Tab) -> None:
    tab.click("label[for=arm-0]")
    tab.press("ArrowRight")
    assert visible(tab, ".matrix h3", "e.firstChild.data") == ["alpha* 0.5"]
    tab.press("ArrowDown", "ArrowDown")
    assert visible(tab, ".matrix h3", "e.firstChild.data") == ["oversampling"]


def test_click_shows_mistakes_only_and_back(tab: Tab) -> None:
    everything = visible(tab, ".shot", "e.dataset.class")
    wrong = tab.evaluate("document.querySelectorAll('.shot.wrong').length")
    assert 0 < wrong < len(everything) == 200
    tab.click("label[for=mistakes]")
    assert len(visible(tab, ".shot.wrong")) == len(visible(tab, ".shot")) == wrong
    nodes = tab.accessible()
    assert nodes[nodes.index(("StaticText", " shown")) - 1] == ("StaticText", str(wrong))
    tab.click("#mistakes")
    assert visible(tab, ".shot", "e.dataset.class") == everything


def test_keys_pick_a_class_and_its_mistakes(tab: Tab) -> None:
    picker = tab.page.locator("#class-picker")
    picker.focus()
    tab.press("ArrowDown", "ArrowDown")
    assert picker.input_value() == "1"
    assert set(visible(tab, ".shot", "e.dataset.class")) == {"1"}
    option = picker.locator("option:checked").inner_text()
    shown, wrong = len(visible(tab, ".shot")), len(visible(tab, ".shot.wrong"))
    assert option.startswith(f"one: {shown} of 37, mistakes {wrong} of ")
    tab.press("Tab", "Space")
    assert len(visible(tab, ".shot.wrong")) == len(visible(tab, ".shot")) > 0
    tab.press("Space")
    picker.focus()
    tab.press("Home")
    assert len(visible(tab, ".shot")) == 200


def test_tab_key_visits_every_control_in_order(tab: Tab) -> None:
    stops = []
    for _ in range(100):
        tab.press("Tab")
        stop = tab.evaluate(FOCUSED)
        if stop["tag"] == "BODY":
            break
        stops.append(stop)
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert all(stop["outlined"] and stop["inView"] for stop in stops), stops
    assert {"A", "SUMMARY", "INPUT", "SELECT", "PRE", "DIV"} == {stop["tag"] for stop in stops}
    assert {"class-picker", "mistakes"} < {stop["id"] for stop in stops}


def test_space_key_opens_the_numbers(tab: Tab) -> None:
    assert visible(tab, "#curve table", "e.tagName") == []
    tab.page.locator("#curve summary").focus()
    tab.press("Space")
    assert visible(tab, "#curve table", "e.tagName") == ["TABLE"]


def test_screen_reader_hears_what_controls_are(tab: Tab) -> None:
    nodes = tab.accessible()
    assert ("combobox", "Class") in nodes
    assert ("checkbox", "mistakes only") in nodes
    assert [name for role, name in nodes if role == "radio"] == [
        "alpha 0", "alpha* 0.5", "alpha 1", "oversampling", "class weights", "all images", "oracle",
    ]  # fmt: skip
    charts = [name for role, name in nodes if role in ("image", "figure") and "oracle" in name]
    assert [name.split(":")[0] for name in charts] == ["Accuracy on real validation against alpha", "Accuracy"]


def test_paper_has_two_matrices_and_no_controls(tab: Tab) -> None:
    tab.show(720, media="print")
    assert visible(tab, ".matrix h3", "e.firstChild.data") == ["alpha 0", "alpha* 0.5"]
    assert visible(tab, "nav, .switch", "e.tagName") == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 720
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    tab.show(1100)
    paper = tab.page.pdf(margin=dict.fromkeys(("top", "right", "bottom", "left"), "1cm"))
    assert paper.startswith(b"%PDF")
    assert 3 <= paper.count(b"/Type /Page\n") <= 20


def test_browser_without_has_shows_everything(tab: Tab, tmp_path: Path) -> None:
    """Browsers of before 2023 do not know :has(), which the switches need."""
    text = tab.evaluate("document.documentElement.outerHTML").replace("selector(:has(a))", "selector(:unknown(a))")
    (tmp_path / "old.html").write_text(text)
    tab.open(tmp_path / "old.html")
    assert len(visible(tab, ".matrix")) == 7
    assert len(visible(tab, ".shot")) == 200
    assert visible(tab, ".switch, .controls", "e.tagName") == []
