"""Opens the exploring of a service, and the money for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.engine.exploring.explorer import Explorer
from routoo.engine.exploring.purse import Purse
from routoo.errors import ConfigError
from routoo.selector.exploring.exploration import Exploration

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.budget.ledger import Ledger
    from routoo.config.settings import Settings
    from routoo.predictor.artifact import Artifact
    from routoo.routing.pool import Pool
    from routoo.telemetry.exploration_counts import ExplorationCounts


def check_exploration(settings: Settings, artifact: Artifact) -> Exploration | None:
    """Returns the rule for exploring; None: the settings ask for none.

    Raises:
        ConfigError: there is no budget for it, the predictor does not tell how sure it is, or
            nothing would make an unknown model known; one line.
    """
    explore = settings.policy.explore
    if explore is None:
        return None
    named = next((one for one in settings.budgets if one.name == explore.budget), None)
    if named is None:
        raise ConfigError(
            f"policy.explore.budget: there is no budget {explore.budget}; add one of this name to"
            " budgets, with pays_for: exploration"
        )
    if named.pays_for != "exploration":
        raise ConfigError(
            f"policy.explore.budget: budget {named.name} pays for {named.pays_for}; set its"
            " pays_for: exploration, or name another budget"
        )
    if "score_std" not in artifact.manifest.output_names:
        raise ConfigError(
            "policy.explore: the predictor does not tell the standard deviation of its scores,"
            " which models are drawn by; serve one that does, or leave policy.explore out"
        )
    if explore.unknown_share is not None and not settings.learning.enabled:
        raise ConfigError(
            "policy.explore.unknown_share: without learning.enabled no report makes a model known,"
            " and the greater share would stay; set learning.enabled: true, or leave unknown_share"
            " out"
        )
    return Exploration(
        floor=explore.floor,
        seed=explore.seed,
        unknown_times=explore.unknown_times,
        unknown_above=explore.unknown_above,
        known_below=explore.known_below,
    )


def open_explorer(
    settings: Settings,
    rule: Exploration | None,
    pool: Pool,
    ledger: Ledger | None,
    counts: ExplorationCounts,
    clock_s: Callable[[], float],
) -> Explorer | None:
    """Opens the exploring; the caller starts the purse, and closes it. None: nothing explores.

    Args:
        settings: the section ``policy.explore``.
        rule: see ``check_exploration``.
        pool: the models.
        ledger: the books, which have the budget.
        counts: counts what is explored.
        clock_s: seconds on a clock that never goes back.
    """
    explore = settings.policy.explore
    if explore is None or rule is None or ledger is None:
        return None
    purse = Purse(ledger, explore.budget, explore.share, clock_s)
    return Explorer(rule, purse, counts, pool.names)
