"""A real Chromium for the tests of the page, driven by Playwright; both come into .chromium."""
