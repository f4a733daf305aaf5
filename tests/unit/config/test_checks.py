"""Settings that each are right, and together never do what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from routoo.config.checks import check_cascade
from routoo.config.sections.policy import PolicySettings
from routoo.config.sections.processor import ProcessorSettings
from routoo.config.settings import Settings
from routoo.errors import ConfigError


def test_a_cascade_behind_envoy_is_refused_with_a_remedy() -> None:
    cascade = PolicySettings(name="cascade", cascade=Path("rule.yaml"))
    check_cascade(Settings(policy=cascade))
    with pytest.raises(ConfigError, match=r"^policy\.name: cascade .* set policy\.name: lp"):
        check_cascade(Settings(policy=cascade, processor=ProcessorSettings(enabled=True)))
