"""Makes the pictures of docs/report.md: a report in headless Chromium, light on a desk and dark on a phone.

python docs/make_screenshots.py RUN     # a finished run with baselines, e.g. of split_digits.yaml
"""

import base64
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import Browser, opened  # noqa: E402


def shoot(browser: Browser, name: str, first: str, last: str, width: int) -> None:
    """Takes the page from the top of one element to the bottom of another."""
    edge = "document.querySelector(arguments[0]).getBoundingClientRect()"
    top = max(0, browser.ask(f"{edge}.top + scrollY", first) - 12)
    height = browser.ask(f"{edge}.bottom + scrollY", last) + 12 - top
    clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
    picture = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    (ROOT / "docs" / "images" / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))


def main(run: Path) -> None:
    page = (run / "report.html").resolve()
    with tempfile.TemporaryDirectory() as profile, opened(Path(profile)) as browser:
        browser.open(page, "light", 1240)
        shoot(browser, "report-head", "body", "#memory", 1240)
        browser.open(page, "dark", 1240)
        shoot(browser, "report-memory", "#classes", "#losses", 1240)
        browser.open(page, "dark", 390)
        shoot(browser, "report-phone", "body", "#memory", 390)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
