"""Checks of the kind of task that a request names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.config.tasks import TaskSettings


def check_task(task: str, known: Sequence[str], settings: TaskSettings) -> None:
    """Refuses a kind of task that the predictor does not tell apart, if the settings say so.

    Args:
        task: as the request names it; not empty.
        known: the kinds that the predictor tells apart.
        settings: whether an unknown one is refused.

    Raises:
        InvalidRequestError: names the kinds that there are.
    """
    if task in known or settings.unknown == "recognise":
        return
    if not known:
        raise InvalidRequestError(
            "the predictor in use tells no tasks apart; leave it out, or set tasks.unknown to"
            " recognise",
            field="task",
        )
    raise InvalidRequestError(
        f"unknown task {task[:40]!r}; this predictor knows {', '.join(known)}", field="task"
    )
