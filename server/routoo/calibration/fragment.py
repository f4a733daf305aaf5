"""Settings as a YAML text that people review: what was found, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from routoo.calibration.sample import PromptSample

_WIDTH = 10_000  # a long value is not folded: a review compares lines


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where settings come from.

    Attributes:
        command: the command line that wrote them.
        day: when.
        file: the prompts' file.
        sha256: of that file.
        rows: how many prompts it holds.
        predictor_version: what predicted.
        pool_digest: which models at which prices.
    """

    command: str
    day: date
    file: str
    sha256: str
    rows: int
    predictor_version: str
    pool_digest: str

    @classmethod
    def of(
        cls,
        sample: PromptSample,
        predictor_version: str,
        pool_digest: str,
        *,
        command: str,
        day: date,
    ) -> Provenance:
        """Of settings that were found on a sample."""
        return cls(
            command, day, sample.file, sample.sha256, len(sample), predictor_version, pool_digest
        )

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"Written by: {self.command}",
            f"on {self.day.isoformat()}, from {self.rows:,} prompts of {self.file}",
            f"(sha256 {self.sha256}),",
            f"predictor {self.predictor_version}, pool {self.pool_digest}.",
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "command": self.command,
            "date": self.day.isoformat(),
            "file": self.file,
            "sha256": self.sha256,
            "rows": self.rows,
            "predictor_version": self.predictor_version,
            "pool_digest": self.pool_digest,
        }


def render(values: dict[str, Any], provenance: Provenance, achieved: Sequence[str]) -> str:
    """The text: comments first, then the settings."""
    comments = [
        *provenance.lines(),
        "Achieved on these prompts:",
        *(f"- {one}" for one in achieved),
    ]
    # A line break in a file's name or in an argument must not end the comment.
    head = "".join(f"# {' '.join(line.split())}\n" for line in comments)
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=_WIDTH)
