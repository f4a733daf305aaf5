"""``routoo calibrate``: finds a policy's settings on a file of prompts."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from routoo.cli.options.common import AsJson, ConfigFile, print_json
from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from routoo.calibration.find import Found, Grounds
    from routoo.calibration.target import Target
    from routoo.routing.pool import Pool

CalibratedPolicy = Literal["threshold", "quality_gap", "lp", "guarantee", "cascade"]
# The options that only some policies take, by policy.
_OPTIONS = {
    "threshold": ("strong", "weak", "strong_share", "target_cost", "target_score"),
    "quality_gap": ("strong", "weak", "strong_share", "target_cost", "target_score"),
    "lp": ("target_cost", "target_score"),
    "guarantee": ("reference", "max_drop", "confidence"),
    "cascade": ("beside",),
}
_TARGETS = ("strong_share", "target_cost", "target_score")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options that only some policies take; None: not given."""

    strong: str | None
    weak: str | None
    strong_share: float | None
    target_cost: float | None
    target_score: float | None
    reference: str | None
    max_drop: float | None
    confidence: float | None
    beside: str | None

    def check(self, policy: str) -> None:
        """Checks the options against the policy.

        Raises:
            CommandError: an option that the policy does not take, or one that it lacks.
        """
        allowed = _OPTIONS[policy]
        for name in self.__dataclass_fields__:
            if getattr(self, name) is not None and name not in allowed:
                raise CommandError(f"--policy {policy} takes no {_flag(name)}; leave it out")
        for name in ("strong", "weak", "reference", "max_drop"):
            if name in allowed and getattr(self, name) is None:
                raise CommandError(f"--policy {policy} needs {_flag(name)}")
        targets = [name for name in _TARGETS if name in allowed]
        given = [name for name in targets if getattr(self, name) is not None]
        if targets and len(given) != 1:
            raise CommandError(
                f"--policy {policy} needs exactly one of {', '.join(map(_flag, targets))}"
            )

    def target(self) -> "Target":
        """Returns the one target that was given."""
        from routoo.calibration.target import Target

        if self.strong_share is not None:
            return Target("strong_share", self.strong_share)
        if self.target_cost is not None:
            return Target("target_cost", self.target_cost)
        assert self.target_score is not None  # noqa: S101 - ``check`` found one
        return Target("target_score", self.target_score)


def calibrate(  # noqa: PLR0913 - one parameter per option
    *,
    policy: Annotated[CalibratedPolicy, typer.Option(help="Whose settings.")],
    prompts: Annotated[
        Path,
        typer.Option(
            "--prompts",
            "--labels",
            help="JSON Lines, as `batch` takes; with scores, costs_usd, signals where known.",
            metavar="F",
        ),
    ],
    config: ConfigFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the settings here; none: stdout.", metavar="FILE")
    ] = None,
    strong: Annotated[
        str | None, typer.Option(help="The expensive model of the pair.", metavar="MODEL")
    ] = None,
    weak: Annotated[
        str | None, typer.Option(help="The cheap model of the pair.", metavar="MODEL")
    ] = None,
    strong_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="At most this part to the strong model.", metavar="X"),
    ] = None,
    target_cost: Annotated[
        float | None, typer.Option(min=0, help="Mean predicted cost at most.", metavar="USD")
    ] = None,
    target_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Mean predicted score at least.", metavar="X"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Quality is held against this one.", metavar="MODEL")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Mean score below the reference, at most.", metavar="X")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Of the guarantee, default 0.95.", metavar="X")
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(help="The cheap model that agreement is measured against.", metavar="MODEL"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find a policy's settings on a file of prompts.

    Predicts the prompts in this process, without a service, and writes a piece of configuration
    with its provenance, to be reviewed and put into the settings of `serve`.

    threshold, quality_gap: --strong and --weak, and one of --strong-share, --target-cost,
    --target-score. lp: one of the targets. guarantee: --reference and --max-drop; every line has
    the scores of all models of the pool. cascade: the rule of `escalate`, from lines with scores
    and signals, and with --beside the policy cascade, too; name the file that it is written to
    with policy.cascade.
    """
    wanted = _Wanted(
        strong,
        weak,
        strong_share,
        target_cost,
        target_score,
        reference,
        max_drop,
        confidence,
        beside,
    )
    wanted.check(policy)
    if out is not None:
        from routoo.cli.output.files import check_writable

        check_writable(out)
    grounds = _grounds(config, prompts)
    _write(grounds, _find(policy, wanted, grounds), out, as_json=as_json)


def _find(policy: str, wanted: _Wanted, grounds: "Grounds") -> "Found":
    from routoo.calibration import find
    from routoo.selector.guarantee import Promise

    pool = grounds.pool
    if policy == "cascade":
        beside = None if wanted.beside is None else _column(pool, "beside", wanted.beside)
        return find.find_cascade(grounds, beside)
    if policy == "lp":
        return find.find_lp(grounds, wanted.target())
    if policy == "guarantee":
        assert wanted.max_drop is not None  # noqa: S101 - ``check`` found it
        confidence = 0.95 if wanted.confidence is None else wanted.confidence
        promise = Promise(wanted.max_drop, 1.0 - confidence)
        return find.find_guarantee(grounds, _column(pool, "reference", wanted.reference), promise)
    pair = _column(pool, "strong", wanted.strong), _column(pool, "weak", wanted.weak)
    if pair[0] == pair[1]:
        raise CommandError("--strong and --weak are the same model; name two")
    find_pair = find.find_threshold if policy == "threshold" else find.find_quality_gap
    return find_pair(grounds, *pair, wanted.target())


def _grounds(config: Path | None, prompts: Path) -> "Grounds":
    from routoo.calibration.find import Grounds
    from routoo.calibration.sample import read_sample
    from routoo.cli.output.progress import Phases
    from routoo.config.loading import load_settings
    from routoo.predictor.artifact import find_artifact, load_artifact
    from routoo.predictor.manager import in_process
    from routoo.pricing.presets import PresetPrices
    from routoo.pricing.prices import MEAN_COST
    from routoo.routing.money.operating_point import PricedSample
    from routoo.routing.pool import load_pool
    from routoo.selector.lp.presets import PRESETS

    settings = load_settings(config)
    pool = load_pool(settings.pool)
    artifact = load_artifact(find_artifact(settings.predictor.artifact))
    pool = pool.known_to(artifact.knows)
    columns = artifact.columns_of(pool.predictor_names)
    priced = PricedSample(artifact.calibration_sample(), pool, columns)
    predictor = in_process(settings.predictor, artifact)
    with Phases(sys.stderr if sys.stderr.isatty() else None) as phases:
        phases.start(f"predicting {prompts}")
        sample = read_sample(
            prompts, pool, predictor, settings.limits, settings.tasks, phases.track
        )
        phases.finish(f"predicted {len(sample):,} prompts")
    presets = PresetPrices(priced.presets(), keeps_mean_cost=settings.policy.mean_cost_is_set)
    price = priced.nearest_price(settings.policy.max_mean_cost_usd)
    if settings.policy.mean_cost_is_set or settings.policy.name not in PRESETS:
        price = priced.price_for(settings.policy.max_mean_cost_usd)
    price, _ = presets.of(settings.policy.name, price, (MEAN_COST,))
    version = artifact.version_for(pool.predictor_names)
    return Grounds(sample, pool, priced, price, version)


def _write(grounds: "Grounds", found: "Found", out: Path | None, *, as_json: bool) -> None:
    from datetime import UTC, datetime

    from routoo.calibration.fragment import Provenance, render

    provenance = Provenance.of(
        grounds.sample,
        grounds.predictor_version,
        grounds.pool.digest,
        command=shlex.join(["routoo", *sys.argv[1:]]),
        day=datetime.now(UTC).date(),
    )
    text = render(found.settings, provenance, found.achieved)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        print_json(
            {
                "settings": found.settings,
                "achieved": found.figures,
                "provenance": provenance.as_dict(),
                "out": str(out) if out else None,
            }
        )
    elif out is None:
        sys.stdout.write(text)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in (f"wrote {out}", *found.achieved)))


def _column(pool: "Pool", option: str, model: str | None) -> int:
    return pool.column(str(model), _flag(option), CommandError)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
