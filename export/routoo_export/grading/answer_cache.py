"""Answers of models on the disk, by what was asked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import orjson

from routoo_export.errors import GradingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One answer of a model.

    Attributes:
        model: the pool's name.
        text: the answer; empty where the model said nothing.
        cost_usd: what it cost, or, where the reply told no usage, what it can have cost at most.
        billed: whether the cost is that of the usage.
        input_tokens: as billed; None: not told.
        output_tokens: as billed; None: not told.
        latency_ms: from the request to the end of the reply.
        reservation: of the purse.
    """

    model: str
    text: str
    cost_usd: float
    billed: bool
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float
    reservation: str


def answer_key(
    model: str, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]
) -> str:
    """Returns the key of what is asked, hexadecimal.

    Args:
        model: the pool's name.
        messages: the conversation.
        parameters: further fields of the request.
    """
    asked = [model, [dict(one) for one in messages], dict(parameters)]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


class AnswerCache:
    """Answers in a folder, one file each, which is whole or not there.

    Args:
        folder: is made where it is missing.

    Raises:
        GradingError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GradingError(f"{folder}: cannot be made ({error.strerror})") from error

    def get(self, key: str) -> ModelAnswer | None:
        """Returns the answer; None: there is none, or its file is damaged."""
        try:
            values = orjson.loads(self._path(key).read_bytes())
            return ModelAnswer(**{one.name: values[one.name] for one in fields(ModelAnswer)})
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def put(self, key: str, answer: ModelAnswer) -> None:
        """Keeps an answer.

        Raises:
            GradingError: the disk is full or broken.
        """
        path = self._path(key)
        beside = path.with_name(f"{path.name}.new")
        try:
            path.parent.mkdir(exist_ok=True)
            with beside.open("wb") as file:
                file.write(orjson.dumps(asdict(answer)))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise GradingError(
                f"{path}: cannot be written ({error.strerror}); free space and run again"
            ) from error

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
