"""A real browser for pages that are written: Debian's chromium, without a window or a network."""

from __future__ import annotations

import base64
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
    "--headless=new",
    "--no-sandbox",  # which root may not use
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PHONE = 600  # pixels of width under which a screen is a phone's


def missing() -> str:
    """Why there is no browser to test with, and how to get one; empty where there is."""
    lacking = [] if any(map(shutil.which, BROWSERS)) else [BROWSERS[0]]
    lacking += [] if shutil.which(DRIVER) else [DRIVER]
    if not lacking:
        return ""
    return f"no {' and no '.join(lacking)} here: apt-get install chromium chromium-driver"


class Browser:
    """One page at a time, and what was seen of it."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With both paths named, selenium looks for neither, here or on the network.
        service = webdriver.ChromeService(shutil.which(DRIVER))
        self._driver = webdriver.Chrome(options, service)

    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a file on a screen of ``width`` × ``height`` pixels; forget what came before."""
        self._driver.get("about:blank")
        screen = {"width": width, "height": height, "deviceScaleFactor": 1}
        phone = width < PHONE
        self._driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**screen, "mobile": phone}
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        for kind in ("browser", "performance"):
            self._driver.get_log(kind)  # which empties it
        self._url = path.absolute().as_uri()
        self._driver.get(self._url)

    def prefers(self, name: str, value: str) -> None:
        """Set a preference of the user's, ``prefers-NAME``, for the page that is open."""
        feature = {"name": f"prefers-{name}", "value": value}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def errors(self) -> list[str]:
        """What the page complained of since the last call, or since it was opened."""
        entries = self._driver.get_log("browser")
        return [one["message"] for one in entries if one["level"] in {"SEVERE", "WARNING"}]

    def requests(self) -> list[str]:
        """Every address asked for since the last call or since opening, but the file itself.

        What the page carries in itself (``data:``) is asked of nobody.
        """
        messages = (json.loads(one["message"]) for one in self._driver.get_log("performance"))
        sent = (
            one["message"]["params"]["request"]["url"]
            for one in messages
            if one["message"]["method"] == "Network.requestWillBeSent"
        )
        return [url for url in sent if url != self._url and not url.startswith("data:")]

    def find(self, css: str) -> WebElement:
        """The first element that a selector names; it must be there."""
        return self._driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[WebElement]:
        """Every element that a selector names."""
        return self._driver.find_elements(By.CSS_SELECTOR, css)

    def press(self, keys: str) -> None:
        """Type into whatever has the focus; `selenium.webdriver.common.keys.Keys` has names."""
        webdriver.ActionChains(self._driver).send_keys(keys).perform()

    def script(self, source: str, *arguments: Any) -> Any:
        """What JavaScript returns; ``arguments`` are its ``arguments``."""
        return self._driver.execute_script(source, *arguments)

    def overflows(self) -> bool:
        """Whether the page as a whole scrolls sideways."""
        return bool(
            self.script("const e = document.documentElement; return e.scrollWidth > e.clientWidth")
        )

    def shot(self, path: Path) -> None:
        """The whole page as a PNG, however long it is."""
        size = self._driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        asked = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        taken = self._driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        """End the browser."""
        self._driver.quit()
