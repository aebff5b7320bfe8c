"""A headless Chromium for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1440,900",
)


class Browser:
    """A driven Chromium with one page open."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver: Any = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def open(self, page: Path, scheme: str = "light", width: int = 1440) -> None:
        self.media(scheme)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(page.as_uri())

    def media(self, scheme: str, kind: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *arguments)

    def chart(self, name: str, expression: str) -> Any:
        """An expression about ``chart``."""
        return self.ask(f"((chart) => {expression})(Chart.getChart('chart-{name}'))")

    def wait_for(self, expression: str) -> None:
        """Until something holds of the first ``chart``; fails after ten seconds."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 10).until(lambda _: self.chart("seen", expression))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def labels(self, name: str) -> set[str]:
        return set(self.chart(name, "chart.data.datasets.map((one) => one.label)"))

    def serious(self) -> list[str]:
        """What axe finds, apart from the minor and moderate."""
        if self.ask("typeof axe") == "undefined":
            library = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": library})
        done = "axe.run().then((found) => arguments[arguments.length - 1](found.violations))"
        found = self.driver.execute_async_script(done)
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """A browser, or a skipped test where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver here; Debian's packages are chromium and chromium-driver")
    pytest.importorskip("selenium")
    browser = Browser(profile)
    yield browser
    browser.driver.quit()
