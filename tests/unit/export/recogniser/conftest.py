"""A tiny recogniser, trained once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.artifacts.tiny_recogniser import tiny_recogniser

if TYPE_CHECKING:
    from routoo_export.recogniser.train import TrainedRecogniser


@pytest.fixture(scope="session")
def recogniser() -> TrainedRecogniser:
    return tiny_recogniser()
