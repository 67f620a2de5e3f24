"""A headless Chromium for tests of HTML pages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
FLAGS = (
    *("--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    "--no-sandbox",  # unavailable to root
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
PHONE = 600  # pixels; a narrower screen is a phone's


def missing() -> str:
    """Return which program is not installed, and how to install it; empty if none."""
    lacking = [] if any(map(shutil.which, BROWSERS)) else [BROWSERS[0]]
    lacking += [] if shutil.which(DRIVER) else [DRIVER]
    if not lacking:
        return ""
    return f"no {' and no '.join(lacking)} here: apt-get install chromium chromium-driver"


class Browser:
    """A browser with one page."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Given both paths, selenium does not search the disk or the network for them.
        self._driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which(DRIVER)))
        self._page = profile / "page.html"

    def show(self, page: str, width: int = 1200, dark: bool = False, fragment: str = "") -> None:
        """Show a page, at a fragment, on a screen of this width in pixels; clear the logs."""
        self._page.write_text(page, encoding="utf-8")
        self._driver.get("about:blank")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < PHONE}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.prefers("color-scheme", "dark" if dark else "light")
        for kind in ("browser", "performance"):
            self._driver.get_log(kind)  # reading a log clears it
        self._url = self._page.as_uri()
        self._driver.get(f"{self._url}#{fragment}" if fragment else self._url)

    def prefers(self, name: str, value: str) -> None:
        """Set the media feature ``prefers-NAME``."""
        feature = {"name": f"prefers-{name}", "value": value}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def errors(self) -> list[str]:
        """Return errors and warnings of the page since the last call."""
        entries = self._driver.get_log("browser")
        return [one["message"] for one in entries if one["level"] in {"SEVERE", "WARNING"}]

    def requests(self) -> list[str]:
        """Return the requested addresses since the last call, except the file and ``data:``."""
        messages = (json.loads(one["message"]) for one in self._driver.get_log("performance"))
        sent = (
            one["message"]["params"]["request"]["url"]
            for one in messages
            if one["message"]["method"] == "Network.requestWillBeSent"
        )
        own = (self._url, "data:")
        return [url for url in sent if not url.startswith(own)]

    def find(self, css: str) -> WebElement:
        return self._driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, css)

    def press(self, keys: str) -> None:
        """Type into the focused element."""
        webdriver.ActionChains(self._driver).send_keys(keys).perform()

    def script(self, source: str, *arguments: Any) -> Any:
        return self._driver.execute_script(source, *arguments)

    def overflows(self) -> bool:
        """Return whether the page scrolls horizontally."""
        source = "const e = document.documentElement; return e.scrollWidth > e.clientWidth"
        return bool(self.script(source))

    def close(self) -> None:
        self._driver.quit()
