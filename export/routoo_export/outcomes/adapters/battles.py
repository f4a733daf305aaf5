"""Preference battles: two models answer one prompt, and a judge says which answer is better.

Formats, all with model_a and model_b:
- Chatbot Arena (huggingface.co/datasets/lmsys/chatbot_arena_conversations and
  lmarena-ai/arena-human-preference-*): question_id, conversation_a (turns with role and content),
  winner in model_a, model_b, tie, tie (bothbad);
- the Kaggle form of it (lmsys/lmsys-arena-human-preference-55k): id, prompt (JSON text of the
  user's turns), winner_model_a, winner_model_b, winner_tie in {0, 1};
- plain: prompt_id, prompt, winner in a, b, tie; or score_a.
The prompt is the first user turn, which a router sees when it has to choose. A tie counts half,
also where both answers were bad.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.cells import as_number
from routoo_export.outcomes.adapters.files import need
from routoo_export.outcomes.adapters.records import read_records
from routoo_export.outcomes.bad_rows import BadRows

BATTLE_COLUMNS: Final = ("prompt_id", "prompt", "model_a", "model_b", "score_a")
_SCORES: Final = {
    "model_a": 1.0,
    "a": 1.0,
    "model_b": 0.0,
    "b": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "both_bad": 0.5,
}
_FLAGS: Final = {"winner_model_a": 1.0, "winner_model_b": 0.0, "winner_tie": 0.5}
_ID_FIELDS: Final = ("prompt_id", "question_id", "id")


def read_battle_sources(
    inputs: Sequence[str], bad: BadRows, *, split: str | None = None
) -> pa.Table:
    """Read BATTLE_COLUMNS (score_a float64 in {0, 0.5, 1}), and domain where a row has one.

    Raises:
        OutcomeError: a source cannot be read, a row does not fit, or none is left.
    """
    rows: list[tuple[Any, ...]] = []
    for source in inputs:
        for where, record in read_records(source, bad, split=split):
            if need(record, ("model_a", "model_b"), where, bad):
                reason = _fault(record)
                if reason is None:
                    rows.append(_row(record))
                else:
                    bad.add(str(where), *reason)
    if not rows:
        raise OutcomeError(f"{', '.join(inputs)}: no battle fits")
    columns = dict(zip((*BATTLE_COLUMNS, "domain"), zip(*rows, strict=True), strict=True))
    if all(domain is None for domain in columns["domain"]):
        del columns["domain"]
    types = {"score_a": pa.float64()}
    return pa.table(
        {name: pa.array(v, type=types.get(name, pa.string())) for name, v in columns.items()}
    )


def first_user_turn(record: Mapping[str, Any]) -> str | None:
    """The first turn of the user, or None where no text is found."""
    prompt = record.get("prompt")
    if isinstance(prompt, str) and prompt.startswith("["):
        prompt = _turns(prompt) or prompt
    if isinstance(prompt, list):
        prompt = prompt[0] if prompt else None
    if prompt is None:
        turns = record.get("conversation_a")
        said = [t for t in turns if isinstance(t, Mapping)] if isinstance(turns, list) else []
        prompt = next((turn.get("content") for turn in said if turn.get("role") == "user"), None)
    return prompt if isinstance(prompt, str) and prompt.strip() else None


def score_a(record: Mapping[str, Any]) -> float | None:
    """1 where model_a won, 0.5 for a tie, 0 where model_b won; None where no result is found."""
    if isinstance(winner := record.get("winner"), str):
        return _SCORES.get(winner.strip().lower())
    try:
        flags = {name: as_number(record.get(name)) for name in ("score_a", *_FLAGS)}
    except ValueError:
        return None
    if flags["score_a"] is not None:
        return flags["score_a"] if flags["score_a"] in _FLAGS.values() else None
    raised = [score for name, score in _FLAGS.items() if flags[name] == 1.0]
    return raised[0] if len(raised) == 1 else None


def _fault(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The reason why a battle does not fit, with a detail; None where it fits."""
    pair = record["model_a"], record["model_b"]
    if first_user_turn(record) is None:
        return "no user turn in prompt or conversation_a", ""
    if score_a(record) is None:
        said = {name: record[name] for name in ("winner", "score_a", *_FLAGS) if name in record}
        return "winner is none of those known", f" ({said})"
    if not all(isinstance(model, str) and model.strip() for model in pair):
        return "model_a or model_b is empty", f" ({pair})"
    if pair[0] == pair[1]:
        return "a model fights itself", f" ({pair[0]})"
    return None


def _row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    prompt = str(first_user_turn(record))
    named = next((record[name] for name in _ID_FIELDS if record.get(name) is not None), None)
    digest = hashlib.sha1(prompt.encode(), usedforsecurity=False).hexdigest()[:16]
    domain = record.get("domain")
    return (
        digest if named is None else str(named),
        prompt,
        record["model_a"],
        record["model_b"],
        score_a(record),
        domain if isinstance(domain, str) else None,
    )


def _turns(text: str) -> list[str] | None:
    """The turns that JSON text lists; None where the text is a prompt that only looks like JSON."""
    try:
        turns = json.loads(text)
    except ValueError:
        return None
    listed = isinstance(turns, list) and all(isinstance(turn, str) for turn in turns)
    return turns if listed else None
