"""A real browser for the pages' tests, and what they ask it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

import pytest

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Every visible text with the contrast of its color to what lies behind it (WCAG 2.2, 1.4.3).
# A background that lets pictures through is blended with the worse of black and white.
CONTRAST = """
const luminance = ([r, g, b]) => {
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const lin = [r, g, b].map(v => linear(v / 255));
  return .2126 * lin[0] + .7152 * lin[1] + .0722 * lin[2];
};
const ratio = (a, b) => {
  const [hi, lo] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (hi + .05) / (lo + .05);
};
const parse = text => {
  const n = text.match(/[\\d.]+/g).map(Number);
  return n.length < 4 ? [...n, 1] : n;
};
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, a] = parse(getComputedStyle(e).backgroundColor);
    if (a === 1) return [[r, g, b]];
    if (a > 0) return [0, 255].map(w => [r, g, b].map(v => v * a + w * (1 - a)));
  }
  return [[255, 255, 255]];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  if (!node.textContent.trim() || element.closest('.unseen, .skip')) continue;
  const color = parse(getComputedStyle(element).color);
  const least = Math.min(...behind(element).map(b => ratio(color, b)));
  found.push([node.textContent.trim().slice(0, 30), Math.round(least * 100) / 100]);
}
return found;
"""


def chromium() -> tuple[str, str]:
    """Browser and driver; the test is skipped where they are missing, and fails so on CI."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    selenium = importlib.util.find_spec("selenium")
    if browser and driver and selenium:
        return browser, driver
    reason = "needs selenium, Chromium and chromedriver"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start(profile: str) -> Any:
    """A headless browser; whoever starts it calls quit()."""
    binary, driver_path = chromium()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=driver_path))
    driver.get("about:blank")  # the start page's own requests are over before a test looks
    return driver


def show(browser: Any, address: str, width: int, scheme: str = "light", media: str = "") -> None:
    """Load a page in a window of this width, light or dark, on a screen or as it is printed."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # jump to a section at once
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(address)
