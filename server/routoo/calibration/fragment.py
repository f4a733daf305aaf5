"""Settings as a YAML text for review, with their provenance as comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from routoo.calibration.sample import PromptSample

# Long values are not folded, so that a review can compare lines.
_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of settings.

    Attributes:
        command: the command line that wrote them.
        day: the day on which they were written.
        file: the prompts' file.
        sha256: SHA-256 of that file.
        rows: number of prompts in it.
        predictor_version: version of the predictor.
        pool_digest: digest of the pool, its models and prices.
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
        """Returns the provenance of settings that were found on a sample."""
        return cls(
            command, day, sample.file, sample.sha256, len(sample), predictor_version, pool_digest
        )

    def lines(self) -> list[str]:
        """Returns the provenance as lines of text."""
        return [
            f"Written by: {self.command}",
            f"on {self.day.isoformat()}, from {self.rows:,} prompts of {self.file}",
            f"(sha256 {self.sha256}),",
            f"predictor {self.predictor_version}, pool {self.pool_digest}.",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the provenance for JSON."""
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
    """Returns the YAML text: comments first, then the settings."""
    comments = [
        *provenance.lines(),
        "Achieved on these prompts:",
        *(f"- {one}" for one in achieved),
    ]
    # A line break in a file's name or in an argument must not end the comment.
    head = "".join(f"# {' '.join(line.split())}\n" for line in comments)
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=_WIDTH)
