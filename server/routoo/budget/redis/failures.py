"""Failures of Redis, told by what they mean for the books and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import redis

from routoo.budget.redis.replies import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable


def guarded(call: Callable[[], Any], name: str, keys: str) -> Any:
    """Calls Redis.

    Args:
        call: the call.
        name: the call in the message of a failure.
        keys: the beginning of our keys.

    Raises:
        StoreError: the call has failed.
    """
    try:
        return call()
    except redis.exceptions.NoScriptError:
        raise StoreError("away", "Redis was restarted", doubtful=False) from None
    except (
        redis.exceptions.ReadOnlyError,
        redis.exceptions.AskError,  # MovedError is one
        redis.exceptions.ClusterDownError,
    ) as error:
        raise StoreError("away", f"another server takes over: {error}", doubtful=False) from None
    except redis.exceptions.OutOfMemoryError:
        raise _full() from None
    except (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.RedisClusterException,
        OSError,
    ) as error:
        raise StoreError("away", f"{name}: {error}", doubtful=True) from None
    except redis.exceptions.RedisError as error:
        raise _refused(str(error), keys) from None


def lost() -> StoreError:
    """Returns the failure of books that do not know what Redis has answered before."""
    return StoreError(
        "lost",
        "Redis has lost the books of the budgets, or may have gone back to older ones; was it"
        " restarted, or has another one taken over?",
        doubtful=False,
    )


def of_other_version(*, earlier: bool) -> StoreError:
    """Returns the failure of books that another version of this software has written."""
    if earlier:
        text = (
            "replicas of an earlier version of routoo use these budgets, and know no leases; stop"
            " them, and this one takes the books over 10 s later; or set another ledger.key_prefix"
        )
    else:
        text = (
            "a later version of routoo has written these budgets; upgrade this replica, or set"
            " another ledger.key_prefix"
        )
    return StoreError("refused", text, doubtful=False)


def _full() -> StoreError:
    return StoreError("full", "Redis is out of memory; raise its maxmemory", doubtful=False)


def _refused(text: str, keys: str) -> StoreError:
    if found := re.search(r"GARBAGE (\S+)", text):
        key = found[1]
    elif "WRONGTYPE" in text:
        key = f"{keys}*"
    elif "OOM" in text:
        return _full()
    else:
        # Redis loads its data, is a replica, lacks a permission, ...: its own message tells.
        return StoreError("refused", f"Redis refuses: {text}", doubtful=False)
    return StoreError(
        "garbage",
        f"Redis holds something that is not ours under {key}; delete it there, or set another"
        " ledger.key_prefix",
        doubtful=False,
    )
