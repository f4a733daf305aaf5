"""The file that says what the traffic is made of: shares of the registry's sources."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.outcomes.registry import registry

MIX_FILE: Final = Path(__file__).parent / "traffic_mix.yaml"
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class TrafficMix:
    """A mix of traffic.

    Attributes:
        shares: Share of each source, positive, with the sum 1.
    """

    shares: Mapping[str, float]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, in the order of the file."""
        return tuple(self.shares)

    def average(self, figures: Mapping[str, Estimate]) -> Estimate:
        """The mean of a figure over the sources that have it, weighted by their shares.

        Sources are independent, so their errors add up as squares.

        Args:
            figures: The figure by source; NaN counts as missing.
        """
        known = {name: one for name, one in figures.items() if math.isfinite(one.value)}
        total = sum(self.shares[name] for name in known)
        if not total:
            return Estimate(*[math.nan] * 4)
        value = sum(self.shares[name] * one.value for name, one in known.items()) / total
        error = math.hypot(*(self.shares[name] * one.se for name, one in known.items())) / total
        return Estimate(value, error, value - _Z * error, value + _Z * error)


def read_mix(path: Path = MIX_FILE) -> TrafficMix:
    """Read a mix.

    Args:
        path: A YAML file with a share, greater than 0, for each source by its name.

    Raises:
        OutcomeError: the file is unreadable, names an unknown source or one without prompts, or has
            a share that is none.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _OneOfAName)  # noqa: S506 - a safe one
    except (OSError, UnicodeDecodeError) as error:
        raise OutcomeError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise OutcomeError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not content:
        raise OutcomeError(f"{path}: no shares; write a line SOURCE: SHARE per source")
    for name, share in content.items():
        if not isinstance(name, str):
            raise OutcomeError(f"{path}: {name!r} is no name of a source; quote it")
        try:
            entry = registry().named(name)
        except OutcomeError as error:
            raise OutcomeError(f"{path}: {error}") from error
        if entry.prompt is None:
            raise OutcomeError(f"{path}: {name} has no prompts to judge on; remove it")
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not math.isfinite(share) or share <= 0.0:
            raise OutcomeError(f"{path}: {name}: the share {share!r} is no number above 0")
    total = math.fsum(content.values())
    return TrafficMix({name: share / total for name, share in content.items()})


def checked_sources(names: Sequence[str], mix: TrafficMix) -> tuple[str, ...]:
    """The sources of ``names``, or all of the mix if there are none.

    Raises:
        OutcomeError: one is not in the mix.
    """
    unknown = [name for name in names if name not in mix.shares]
    if unknown:
        raise OutcomeError(
            f"--source {unknown[0]} is not in the mix; it has {', '.join(mix.sources)}"
        )
    return tuple(name for name in mix.sources if not names or name in names)


class _OneOfAName(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - YAML's own signature
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f"{name!r} stands twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)
