"""The header Retry-After, which says when a provider wants to be asked again."""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_LONGEST_TEXT: Final = 64


def retry_after_s_of(text: str, now_s: float) -> float | None:
    """Returns the time to wait in seconds, at least 0; None: the text tells none.

    Both forms of RFC 9110, section 10.2.3, are read: seconds, of which some providers send
    fractions, and a date. A date in the past is 0.

    Args:
        text: the header's value.
        now_s: seconds since 1970.
    """
    told = text.strip()
    if not told or len(told) > _LONGEST_TEXT:
        return None
    if _SECONDS.fullmatch(told):
        return float(told)
    try:
        wait_s = parsedate_to_datetime(told).timestamp() - now_s
    except (ValueError, OverflowError, TypeError, OSError):
        return None
    return max(0.0, wait_s) if math.isfinite(wait_s) else None
