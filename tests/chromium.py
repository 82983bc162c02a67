"""A page of Chromium that Playwright drives, for what takes more than calling a module's function.

That is done by `webdnn.browser.engine`, in every engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from webdnn.browser.engine import find


@contextmanager
def driven(*flags: str) -> Iterator[Any]:
    """An empty page; skips the test where Playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", *flags]
        browser = driver.chromium.launch(executable_path=find("chromium"), args=arguments)
        try:
            yield browser.new_page()
        finally:
            browser.close()
