"""Fixtures: an artifact for the tests of the decision log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.predictor.artifact import load_artifact
from support.artifacts.tiny_artifact import write_tiny_artifact

if TYPE_CHECKING:
    from routoo.predictor.artifact import Artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("artifact")
    return load_artifact(write_tiny_artifact(folder, uncertain=True))
