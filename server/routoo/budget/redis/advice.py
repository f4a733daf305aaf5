"""Advice on the settings of Redis, whose defaults may lose budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from routoo.budget.redis.replies import StoreError

if TYPE_CHECKING:
    from routoo.budget.redis.store import RedisStore

_log = structlog.get_logger(__name__)


def warn_of_losses(store: RedisStore) -> None:
    """Logs what may make Redis throw budgets away, or forget them when it restarts."""
    try:
        policy = store.evicts()
        lacks = store.forgets()
    except StoreError:
        return  # these commands may be forbidden, and the warnings are only advice
    if policy is not None:
        _log.warning(
            "Redis may throw budgets away to make room; set its maxmemory-policy to noeviction",
            policy=policy,
        )
    if lacks is not None:
        _log.warning(
            "Redis may forget budgets when it restarts; set its appendonly to yes",
            reason=lacks,
        )
