"""Tools that tests take from beside the checkout: where one is missing, CI fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import NoReturn


def missing(reason: str) -> NoReturn:
    """Ends a test for want of a tool that the Makefile installs.

    A developer may run some tests without it; in CI, where all must run, it has to be there.

    Args:
        reason: names the tool and what installs it.
    """
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
