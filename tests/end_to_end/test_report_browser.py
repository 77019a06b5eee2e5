"""The report in a real browser: clicked, typed at, on a phone, in the dark and in print."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.report import write_report
from tests.browser import CHROMIUM, MISSING, Page, browser
from tests.engine.reports import HELPED, make_run, measure, write_answer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

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
SEEN = "[...document.querySelectorAll('SELECTOR')].filter(e => e.checkVisibility())"
CUT_LABELS = """svg => {
  const a = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const b = text.getBoundingClientRect();
    return b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1;
  }).map(text => text.textContent);
}"""
TOUCHING = """(() => {
  const boxes = [...document.querySelectorAll(".dot span")].map(e => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, one], i) => boxes.slice(i + 1).filter(([b, other]) =>
    one.left < other.right && other.left < one.right && one.top + 1 < other.bottom && other.top + 1 < one.bottom
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
    """All sections of a page, of a sweep in which noise helped."""
    run = make_run(tmp_path_factory.mktemp("browser"), SPEC)
    write_answer(run, HELPED)
    measure(run, tmp_path_factory.mktemp("encoder"))
    return Path(write_report(run))


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(tab: Page, report: Path) -> Page:
    """The report on a desk by day."""
    tab.show(1100)
    tab.open(report)
    return tab


def seen(page: Page, selector: str, of_each: str = "e.id") -> list[str]:
    """Of the elements that match and can be seen."""
    found = page.evaluate(f"{SEEN.replace('SELECTOR', selector)}.map(e => {of_each})")
    return list(found)


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (768, False), (360, False), (320, True)])
def test_it_fits_the_window(page: Page, width: int, dark: bool) -> None:
    page.show(width, dark=dark)
    assert seen(page, "main > section") == SECTIONS
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    curves = "[...document.querySelectorAll('.chart svg')].filter(svg => svg.getBoundingClientRect().width > 0)"
    assert page.evaluate(f"{curves}.length") == 1
    assert page.evaluate(f"{curves}.flatMap({CUT_LABELS})") == []
    assert page.evaluate(TOUCHING) == []
    assert page.evaluate("document.querySelector('.verdict').getBoundingClientRect().bottom < innerHeight")
    assert page.requested == []
    pixels = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    margin = pixels[:, :4].mean()
    assert margin < 60 if dark else margin > 200


def test_a_click_switches_the_confusion_matrix(page: Page) -> None:
    assert seen(page, ".matrix h3", "e.firstChild.data") == ["alpha* 0.5"]
    for place, name in ((0, "alpha 0"), (3, "oversampling"), (6, "oracle")):
        page.click(f"label[for=arm-{place}]")
        assert seen(page, ".matrix h3", "e.firstChild.data") == [name]
        assert len(seen(page, ".heat tbody tr")) == 10


def test_arrows_switch_the_confusion_matrix(page: Page) -> None:
    page.click("label[for=arm-0]")
    page.press("ArrowRight")
    assert seen(page, ".matrix h3", "e.firstChild.data") == ["alpha* 0.5"]
    page.press("ArrowDown", "ArrowDown")
    assert seen(page, ".matrix h3", "e.firstChild.data") == ["oversampling"]


def test_clicks_leave_mistakes_only_and_bring_the_others_back(page: Page) -> None:
    everything = seen(page, ".shot", "e.dataset.class")
    wrong = page.evaluate("document.querySelectorAll('.shot.wrong').length")
    assert 0 < wrong < len(everything) == 200
    page.click("label[for=mistakes]")
    assert len(seen(page, ".shot.wrong")) == len(seen(page, ".shot")) == wrong
    told = page.spoken()
    assert told[told.index(("StaticText", " shown")) - 1] == ("StaticText", str(wrong))
    page.click("#mistakes")
    assert seen(page, ".shot", "e.dataset.class") == everything


def test_keys_pick_a_class_and_its_mistakes(page: Page) -> None:
    page.evaluate("document.querySelector('#class-picker').focus()")
    page.press("ArrowDown", "ArrowDown")
    assert page.evaluate("document.querySelector('#class-picker').value") == "1"
    assert set(seen(page, ".shot", "e.dataset.class")) == {"1"}
    told = page.evaluate("document.querySelector('#class-picker').selectedOptions[0].text")
    shown, wrong = len(seen(page, ".shot")), len(seen(page, ".shot.wrong"))
    assert told.startswith(f"one: {shown} of 37, mistakes {wrong} of ")
    page.press("Tab", "Space")
    assert len(seen(page, ".shot.wrong")) == len(seen(page, ".shot")) > 0
    page.press("Space")
    page.evaluate("document.querySelector('#class-picker').focus()")
    page.press("Home")
    assert len(seen(page, ".shot")) == 200


def test_tab_walks_through_everything_in_order_and_shows_where_it_is(page: Page) -> None:
    stops = []
    for _ in range(100):
        page.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["tag"] == "BODY":
            break
        stops.append(stop)
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert all(stop["outlined"] and stop["inView"] for stop in stops), stops
    assert {"A", "SUMMARY", "INPUT", "SELECT", "PRE", "DIV"} == {stop["tag"] for stop in stops}
    assert {"class-picker", "mistakes"} < {stop["id"] for stop in stops}


def test_a_key_opens_the_numbers(page: Page) -> None:
    assert seen(page, "#curve table", "e.tagName") == []
    page.evaluate("document.querySelector('#curve summary').focus()")
    page.press("Space")
    assert seen(page, "#curve table", "e.tagName") == ["TABLE"]


def test_a_screen_reader_is_told_what_the_controls_are(page: Page) -> None:
    told = page.spoken()
    assert ("combobox", "Class") in told
    assert ("checkbox", "mistakes only") in told
    assert [name for role, name in told if role == "radio"] == [
        "alpha 0", "alpha* 0.5", "alpha 1", "oversampling", "class weights", "all images", "oracle",
    ]  # fmt: skip
    charts = [name for role, name in told if role in ("image", "figure") and "oracle" in name]
    assert [name.split(":")[0] for name in charts] == ["Accuracy on real validation against alpha", "Accuracy"]


def test_print_has_the_two_matrices_and_no_controls_that_paper_lacks(page: Page) -> None:
    page.show(720, media="print")
    assert seen(page, ".matrix h3", "e.firstChild.data") == ["alpha 0", "alpha* 0.5"]
    assert seen(page, "nav, .switch", "e.tagName") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.show(1100)
    paper = page.printed()
    assert paper.startswith(b"%PDF")
    assert 3 <= paper.count(b"/Type /Page\n") <= 20


def test_without_style_for_switches_everything_is_shown(page: Page, tmp_path: Path) -> None:
    """As a browser of before 2023 reads the page, that does not know :has()."""
    text = page.evaluate("document.documentElement.outerHTML").replace("selector(:has(a))", "selector(:unknown(a))")
    (tmp_path / "old.html").write_text(text)
    page.open(tmp_path / "old.html")
    assert len(seen(page, ".matrix")) == 7
    assert len(seen(page, ".shot")) == 200
    assert seen(page, ".switch, .controls", "e.tagName") == []
