"""Fixtures and settings that every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# A shared machine stalls now and then: a time limit, per example or for drawing, fails by chance.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples on every run, so that a red build is red because of the change.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "default")
if os.environ.get("CI"):
    # Hypothesis draws constants of our modules, too, of those that are imported so far: which they
    # are depends on the tests that ran before in the same process. So nothing is collected here.
    providers._get_local_constants = lambda: providers._local_constants

# What tests ask is on this machine, whatever proxy the environment has for the way out of it.
_LOCAL = ("127.0.0.1", "localhost", "::1")
for _name in ("no_proxy", "NO_PROXY"):
    _others = [one for one in os.environ.get(_name, "").split(",") if one and one not in _LOCAL]
    os.environ[_name] = ",".join((*_others, *_LOCAL))


@pytest.fixture(scope="session")
def outcome_data_dir() -> Path:
    """The folder with the outcome data, from ROUTOO_DATA; unset: the test is skipped."""
    folder = os.environ.get("ROUTOO_DATA")
    if not folder:
        pytest.skip("ROUTOO_DATA is unset; set it to the folder with the outcome data")
    path = Path(folder)
    # Set but wrong is a mistake, and skipping would hide it.
    assert path.is_dir(), f"ROUTOO_DATA={folder} is not a folder"
    return path
