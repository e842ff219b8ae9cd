"""The human's page is the one of ``tests/browser``."""

from tests.browser.conftest import browser, context, page

__all__ = ["browser", "context", "page"]
