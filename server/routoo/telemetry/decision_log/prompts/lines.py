"""The fields of a decision's line that stand for its prompt."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import blake2b
from os import urandom
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from routoo.errors import ConfigError
from routoo.telemetry.decision_log.prompts.question import question_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo.telemetry.decision_log.prompts.reader import GraphReader

Kept = Literal["none", "text", "features"]
"""What the log keeps of prompts."""
FEWEST_KEY_BYTES: Final = 16
_MOST_KEY_BYTES: Final = 64
_HASH_BYTES: Final = 16
_GRAPH_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """What a graph tells of a prompt, as the log keeps it.

    Attributes:
        graph: the first digits of the graph's SHA-256.
        hidden: float64 [u], its hidden units.
        traits: float64 [r], the prompt's traits.
    """

    graph: str
    hidden: NDArray[np.float64]
    traits: NDArray[np.float64]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Reads the field ``features`` of a line.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        figures = np.frombuffer(b64decode(values["values"], validate=True), "<f2")
        units = int(values["hidden"])
        if not 0 < units < len(figures) or not np.isfinite(figures).all():
            raise ValueError("features are not finite numbers, or too few")
        wide = figures.astype(np.float64)
        return cls(str(values["graph"]), wide[:units], wide[units:])


def graph_name(sha256: str) -> str:
    """Returns the name by which features tell their graph."""
    return sha256[:_GRAPH_DIGITS]


class PromptLines:
    """Makes the fields of prompts. ``fields`` is for one thread.

    Args:
        kept: what is kept.
        key: of the hashes; without it, nobody can find a prompt by hashing guesses.

    Attributes:
        kept: what is kept.
        reader: finds the features; None: there is none yet, and hashes are kept alone.
    """

    def __init__(self, kept: Kept, key: bytes) -> None:
        self.kept = kept
        self.reader: GraphReader | None = None
        self._key = key

    @classmethod
    def of(cls, kept: Kept, key_file: Path | None) -> Self:
        """Makes it by the settings; without a file the key is new with each start.

        Raises:
            ConfigError: the file cannot be read, or holds no key; one line.
        """
        return cls(kept, urandom(32) if key_file is None else read_key(key_file))

    def fields(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the fields of n prompts."""
        if self.kept == "none":
            return [{} for _ in texts]
        if self.kept == "text":
            return [{"prompt": text} for text in texts]
        found: list[dict[str, Any]] = [{"prompt_hash": self._hash(text)} for text in texts]
        reader = self.reader
        if reader is not None:
            read = reader.encode(texts)
            hidden, traits = reader.features(read)
            graph = graph_name(reader.table.graph_sha256)
            figures = np.concatenate([hidden, traits], axis=1).astype("<f2")
            for fields, row in zip(found, figures, strict=True):
                values = b64encode(row.tobytes()).decode()
                fields["features"] = {"graph": graph, "hidden": hidden.shape[1], "values": values}
        return found

    def _hash(self, text: str) -> str:
        stem = question_stem(text).encode("utf-8", "surrogatepass")
        return blake2b(stem, key=self._key, digest_size=_HASH_BYTES).hexdigest()


def read_key(path: Path) -> bytes:
    """Reads the key of the hashes.

    Raises:
        ConfigError: the file cannot be read, or holds no key; one line.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"decision_log.prompt_key_file: {path} cannot be read: {error.strerror}"
        ) from None
    if not FEWEST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES:
        raise ConfigError(
            f"decision_log.prompt_key_file: {path} holds {len(key)} bytes; write {FEWEST_KEY_BYTES}"
            f" to {_MOST_KEY_BYTES} random ones, as by `openssl rand -hex 32`"
        )
    return key
