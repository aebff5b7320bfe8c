"""The report in headless Chromium: it draws, reacts, asks for nothing, fits, and is accessible."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from iid_cl.report.page import report
from iid_cl.studies.page import study_report
from tests.browser import Browser, opened
from tests.report.made_up import NAMES, make_comparison, make_run, make_study, result

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='owned'</script>"
CHARTS = ("seen", "drops", "classes", "losses", "plane", "seconds")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, so that bands are drawn."""
    folder = tmp_path_factory.mktemp("run")
    names = [HOSTILE if name == "three" else name for name in NAMES]
    runs = [
        make_run(
            folder / str(seed),
            [
                result("distilled", (0.6 + 0.05 * seed, 0.8), seed),
                result("herding", (0.5, 0.7), seed),
                result("none", (0.0, 1.0), seed, memory_images=0),
            ],
            names=names,
        )
        for seed in (0, 1)
    ]
    return report(runs, folder / "out")


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([make_comparison(tmp_path_factory.mktemp("comparison") / "compare")])


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_report(make_study(tmp_path_factory.mktemp("study") / "study"))


def test_a_page_is_quiet_and_asks_for_nothing(browser: Browser, run_page: Path, comparison_page: Path) -> None:
    for page in (run_page, comparison_page):
        browser.driver.get_log("performance")
        browser.open(page)
        assert browser.driver.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert urls  # the page itself
        assert all(url == page.as_uri() or url.startswith("data:") for url in urls), urls
        assert browser.driver.title == "mini · iid-cl report"  # no class name has become a script


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn(browser: Browser, run_page: Path, scheme: str) -> None:
    browser.open(run_page, scheme)
    for name in CHARTS:
        pixels = "chart.ctx.getImageData(0, 0, chart.canvas.width, chart.canvas.height).data.buffer"
        colours = browser.chart(name, f"new Set(new Uint32Array({pixels})).size")
        assert colours > 3, name
    assert browser.labels("seen") == {"distilled", "herding", "none"}


def test_curves_of_a_comparison_are_drawn(browser: Browser, comparison_page: Path) -> None:
    browser.open(comparison_page)
    assert browser.labels("curve-0") == {"distilled", "herding", "none"}


def test_hovering_shows_values(browser: Browser, run_page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.open(run_page)
    assert browser.chart("seen", "chart.tooltip.opacity") == 0
    canvas = browser.find("#chart-seen")
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    ActionChains(browser.driver).move_to_element_with_offset(canvas, canvas.size["width"] // 2 - 20, 0).perform()
    assert browser.chart("seen", "chart.tooltip.opacity") == 1
    assert browser.chart("seen", "chart.tooltip.title") == ["after experience 2"]
    lines = browser.chart("seen", "chart.tooltip.body.flatMap((part) => part.lines)")
    assert " distilled: 75.6 % (75.0 to 76.3)" in lines
    assert " herding: 65.0 %" in lines


def test_a_method_is_toggled_by_mouse_and_by_keyboard(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    button = browser.find("#methods button:nth-child(2)")
    assert button.text == "herding"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    for name in ("seen", "drops", "classes"):
        assert browser.labels(name) == {"distilled", "none"}
    assert not browser.find(".setting:not([hidden]) [aria-label='Accuracy matrix of herding']").is_displayed()
    button.send_keys(" ")
    assert button.get_attribute("aria-pressed") == "true"
    assert "herding" in browser.labels("seen")
    assert browser.find(".setting:not([hidden]) [aria-label='Accuracy matrix of herding']").is_displayed()


def test_a_class_is_toggled_among_the_features(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    before = browser.labels("plane")
    browser.find("#plane-classes button").click()
    assert len(before - browser.labels("plane")) == 2  # its real and its stored images


def test_the_slider_changes_the_pictures(browser: Browser, run_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(run_page)
    slider = browser.find("#moment")
    assert browser.find("#moment-value").text == "20, the end"
    end = browser.find(".tile.made").screenshot_as_png
    slider.send_keys(Keys.HOME)
    assert browser.find("#moment-value").text == "0, the start"
    assert slider.get_attribute("aria-valuetext") == "iteration 0, the start"
    start = browser.find(".tile.made").screenshot_as_png
    assert start != end
    slider.send_keys(Keys.ARROW_RIGHT)
    assert browser.find("#moment-value").text == "1"
    assert browser.find(".tile.made").screenshot_as_png not in (start, end)


def test_an_image_is_enlarged_with_its_moments(browser: Browser, run_page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(run_page)
    dialog, title = browser.find("#zoomed"), browser.find("#zoomed-title")
    assert not dialog.is_displayed()
    browser.find(".zoom").click()
    assert dialog.is_displayed()
    assert title.text == "one, image 1"
    captions = [each.text for each in dialog.find_elements("css selector", "figcaption")]
    assert captions[:2] == ["real image at the start", "distilled, as stored"]
    assert captions[2:] == ["iteration 1", "iteration 2", "iteration 6"]
    large = [each.screenshot_as_png for each in dialog.find_elements("css selector", ".tile.large")]
    assert large[0] != large[1]
    assert browser.find("#zoomed .tile.large").size["width"] > 2 * browser.find(".zoom .tile").size["width"]
    ActionChains(browser.driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert title.text == f"{HOSTILE}, image 1"
    ActionChains(browser.driver).send_keys(Keys.ARROW_LEFT).perform()
    assert title.text == "one, image 1"
    assert browser.serious() == []
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    assert not dialog.is_displayed()
    assert browser.ask("document.activeElement.className") == "zoom"


@pytest.mark.parametrize("width", [390, 1440])
def test_no_mark_of_a_class_hides_another(browser: Browser, comparison_page: Path, width: int) -> None:
    """Distilled and herding have 50 % in two classes each."""
    browser.open(comparison_page, width=width)
    marks = browser.chart(
        "classes",
        "chart.data.datasets.flatMap((one, i) => chart.getDatasetMeta(i).data.map((mark) => [mark.x, mark.y]))",
    )
    assert len(marks) == 3 * 4
    near = [(a, b) for i, a in enumerate(marks) for b in marks[:i] if abs(a[0] - b[0]) < 11 and abs(a[1] - b[1]) < 11]
    assert near == []


def test_equal_bytes_are_a_sentence(browser: Browser, run_page: Path) -> None:
    browser.open(run_page)
    assert not browser.find("#chart-bytes").is_displayed()
    assert browser.find("#bytes-same").text == "Every memory takes 264 bytes."


def test_ticks_of_losses_can_be_read(browser: Browser, run_page: Path) -> None:
    """Losses from 0.05 to 2: the ones, twos and fives in between."""
    browser.open(run_page)
    assert browser.chart("losses", "chart.scales.y.ticks.map((tick) => tick.label)") == [
        "0.05", "0.1", "0.2", "0.5", "1", "2",
    ]  # fmt: skip


def test_a_wide_table_says_that_it_scrolls(browser: Browser, run_page: Path) -> None:
    says = "getComputedStyle(document.querySelector('#accuracy .scroll'), '::before').content"
    for width, text in ((1440, "none"), (390, '"Scroll sideways for all columns →"')):
        browser.open(run_page, width=width)
        assert browser.ask(says) == text


def test_another_distillations_losses_are_chosen(browser: Browser, run_page: Path) -> None:
    from selenium.webdriver.support.select import Select

    browser.open(run_page)
    select = Select(browser.find("#loss-of"))
    assert [option.text for option in select.options] == [f"experience 1: one, {HOSTILE}", "experience 2: zero, seven"]
    select.select_by_index(1)
    assert browser.labels("losses") == {"match", "cm"}


def test_another_setting_is_chosen(browser: Browser, comparison_page: Path) -> None:
    from selenium.webdriver.support.select import Select

    browser.open(comparison_page)
    final = "chart.data.datasets[0].data[1]"
    assert browser.chart("seen", final) == 72.5
    Select(browser.find("#setting")).select_by_index(0)
    assert browser.chart("seen", final) == 66.5
    assert browser.find("#bytes-same").text == "Every memory takes 264 bytes."
    shown = [each for each in browser.driver.find_elements("css selector", "#headline .setting") if each.is_displayed()]
    assert len(shown) == 1
    assert "replay, ipc 1" in shown[0].text
    browser.find("#settings tbody tr:nth-child(2) a").click()
    assert browser.chart("seen", final) == 72.5
    assert browser.find("#setting").get_attribute("value") == "1"
    browser.driver.get(f"{comparison_page.as_uri()}#setting-1")  # the address of a setting's page
    assert browser.chart("seen", final) == 66.5


def test_both_colour_schemes(browser: Browser, run_page: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(run_page, scheme)
        background = "getComputedStyle(document.body).backgroundColor"
        seen[scheme] = browser.ask(background), browser.chart("seen", "chart.data.datasets[0].borderColor")
    assert seen["light"] == ("rgb(246, 248, 250)", "#0072b2")
    assert seen["dark"] == ("rgb(15, 20, 26)", "#5ab4f0")
    browser.media("light")  # while the page is open
    browser.wait_for("chart.data.datasets[0].borderColor === '#0072b2'")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_and_is_accessible(
    browser: Browser, run_page: Path, comparison_page: Path, study_page: Path, scheme: str, width: int
) -> None:
    for page in (run_page, comparison_page, study_page):
        browser.open(page, scheme, width)
        assert browser.ask("innerWidth") == width
        assert browser.ask("document.documentElement.scrollWidth") <= width
        browser.driver.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.serious() == []


def test_everything_is_reached_by_keyboard(browser: Browser, comparison_page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(comparison_page)
    reached = []
    for _ in range(80):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.append(browser.ask("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert reached[0] == "Skip to the results"
    assert {"setting", "distilled", "herding", "none", "moment", "loss-of", "Configuration"} <= set(reached)


def test_a_dark_page_prints_on_white(browser: Browser, run_page: Path) -> None:
    browser.open(run_page, "dark")
    colour = "Chart.getChart('chart-seen').data.datasets[0].borderColor"
    browser.driver.execute_script(f"addEventListener('beforeprint', () => {{ window.printed = {colour}; }})")
    printed = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert browser.ask("window.printed") == "#0072b2"
    browser.wait_for("chart.data.datasets[0].borderColor === '#5ab4f0'")  # afterwards
    browser.media("dark", "print")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
