"""The result of ``routoo init``, for people and for programs."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from routoo.cli.commands.init.trial import PROMPT
from routoo.cli.output.numbers import score, usd
from routoo.cli.output.render import Facts, TextLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.cli.commands.init.answers import Answers
    from routoo.cli.commands.init.models import FoundModels
    from routoo.cli.commands.init.trial import Trial
    from routoo.cli.output.render import Block


def missing_keys(answers: Answers, environment: Mapping[str, str]) -> list[str]:
    """Returns a line for each provider whose key does not stand in the environment."""
    return [
        f"{one.key_env} is not set: set it before the service starts, or {one.name} is not asked"
        for one in answers.providers
        if one.key_env and not environment.get(one.key_env)
    ]


def next_command(config: str) -> str:
    """Returns the command that serves with the settings."""
    return f"routoo serve --config {shlex.quote(config)}"


def blocks(
    answers: Answers, found: FoundModels, trial: Trial, remarks: list[str], files: tuple[str, str]
) -> list[Block]:
    """Returns the screen: what was written, what it decides, doubts, and the next command."""
    of = ", ".join(f"{one} ({len(models)})" for one, models in found.entries.items())
    bought = f"{usd(trial.cost_usd)} and a score of {score(trial.score)}"
    facts = [
        ("wrote", f"{files[0]} and {files[1]}"),
        ("models", of),
        ("policy", answers.preset),
        *([("budget", _budget(answers))] if answers.budget_usd is not None else []),
        ("expected", _finding(trial, "expected: ")),
        ("a trial", f"{PROMPT!r} goes to {trial.model}, for {bought}"),
    ]
    warnings = [TextLine(f"warning: {one}", "warning") for one in remarks]
    space = [TextLine("")] if warnings else []  # the layout leaves a line after the facts
    serve = next_command(files[0])
    return [
        Facts(facts),
        *warnings,
        *space,
        TextLine(f"next: {serve}", "good"),
        TextLine('then, with any OpenAI client: base_url="http://127.0.0.1:8080/v1", model="auto"'),
    ]


def as_json(
    answers: Answers, found: FoundModels, trial: Trial, remarks: list[str], files: tuple[str, str]
) -> dict[str, Any]:
    """Returns the same as one object."""
    return {
        "config": files[0],
        "pool": files[1],
        "models": [one["name"] for one in found.models],
        "policy": answers.preset,
        "budget_usd": answers.budget_usd,
        "budget_per": None if answers.budget_usd is None else answers.period,
        "findings": trial.findings,
        "trial": {"model": trial.model, "score": trial.score, "cost_usd": trial.cost_usd},
        "remarks": remarks,
        "next": next_command(files[0]),
    }


def _budget(answers: Answers) -> str:
    return f"${answers.budget_usd:g} per {answers.period}; requests beyond it are refused"


def _finding(trial: Trial, beginning: str) -> str:
    """Returns the rest of the finding that begins so."""
    found = (one for one in trial.findings if one.startswith(beginning))
    return next(found, "").removeprefix(beginning)
