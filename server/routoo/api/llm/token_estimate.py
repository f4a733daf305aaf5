"""Estimates of a request's input tokens, for callers who ask before they send it."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

from routoo.api.llm.body import asked_by
from routoo.predictor.conversation import TURN, contents
from routoo.predictor.tokenizers.families import EVERY_FAMILY, count_by_family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.api.llm.body import Api
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.routing.pool import Pool

# What providers put around the messages, and around each of them.
_FRAME_TOKENS: Final = 8


def estimated_tokens(
    api: Api,
    body: Mapping[str, Any],
    counted: Sequence[str],
    pool: Pool,
    settings: ProcessorSettings,
) -> int:
    """Returns the input tokens of a request, as the model of the pool counts it that counts most.

    Args:
        api: the API in whose form the body is.
        body: the members of the body.
        counted: JSON texts of parts of it that were not read, see ``RequestBody``.
        pool: the models.
        settings: of the processor, with the rates of what is no text.
    """
    asked = asked_by(api, body, counted)
    said = contents(asked.text) if asked.text[:1] == TURN else asked.text
    families = pool.tokenizers.families or EVERY_FAMILY
    texts = float(count_by_family([said, asked.unread], families).sum(axis=0).max())
    media = asked.media.tokens(settings.media, settings.tokens_per_image)
    return ceil(texts) + asked.other_tokens + media + _FRAME_TOKENS
