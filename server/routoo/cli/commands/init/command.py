"""``routoo init``: from providers and a preference to settings and a pool that are tried."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.options.common import AsJson, print_json, show
from routoo.cli.output.errors import CommandError
from routoo.errors import PoolError, RoutooError

if TYPE_CHECKING:
    from routoo.cli.commands.init.answers import Answers
    from routoo.cli.commands.init.models import FoundModels
    from routoo.cli.commands.init.trial import Trial
    from routoo.cli.output.progress import Phases

POOL_NAME = "pool.yaml"


class Preference(StrEnum):
    """What is preferred; the presets' own names are taken, too."""

    CHEAP = "cheap"
    BALANCED = "balanced"
    BEST = "best"
    ECONOMY = "economy"
    QUALITY = "quality"


class Period(StrEnum):
    """The period of a budget."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def init(  # noqa: PLR0913 - one parameter per option
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="openai, anthropic, google, deepseek, mistralai or openrouter; repeatable.",
            metavar="NAME",
        ),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            help="An OpenAI-compatible server, such as vLLM or Ollama; repeatable.", metavar="URL"
        ),
    ] = None,
    key_env: Annotated[
        list[str] | None,
        typer.Option(
            help="The variable that holds the key, as PROVIDER=VARIABLE; repeatable.",
            metavar="VARIABLE",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Take this model and no others; repeatable.", metavar="NAME"),
    ] = None,
    prefer: Annotated[
        Preference | None,
        typer.Option(help="cheap, balanced or best; none: balanced.", metavar="P"),
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="Spend at most so much in a period.", metavar="USD")
    ] = None,
    per: Annotated[Period, typer.Option(help="The period.", metavar="P")] = Period.MONTH,
    config: Annotated[
        Path, typer.Option(help="Settings to write; the pool stands beside them.", metavar="F")
    ] = Path("routoo.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there already.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; take what is not given by itself.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write settings and a pool for your providers, and try them.

    Asks on a terminal for what the options do not say. Without --provider and --base-url, --yes
    takes the providers whose keys stand in the environment. Keys are never asked for and never
    written: the settings name the variable that holds them. Nothing is replaced without --force,
    nor a pool that other settings use, and nothing is written unless the service would start with
    it.
    """
    from routoo.cli.commands.init.sharing import sharing_settings
    from routoo.cli.output.files import check_writable
    from routoo.cli.output.progress import Phases

    pool = config.parent / POOL_NAME
    if config.name == POOL_NAME:
        raise CommandError(f"--config {config}: is the pool's name; take another, as routoo.yaml")
    for file in (config, pool):
        check_writable(file)
        if file.exists() and not force:
            raise CommandError(
                f"{file} is there already; pass --force to replace it, or --config with a file in"
                " another folder"
            )
    sharing = sharing_settings(config, pool) if pool.exists() else []
    if sharing:
        raise CommandError(
            f"{pool} is also the pool of {sharing[0]}; write to another folder with --config, or"
            f" give {sharing[0].name} a pool of its own first"
        )
    answers = _answers(
        provider or [],
        base_url or [],
        key_env or [],
        tuple(model or ()),
        None if prefer is None else prefer.value,
        budget_usd,
        per.value,
        asks=not yes and sys.stdin.isatty() and sys.stderr.isatty(),
    )
    with Phases(sys.stderr if sys.stderr.isatty() else None) as phases:
        found = _found(answers, phases)
        trial = _written(answers, found, config, pool, phases)
    _tell(answers, found, trial, config, pool, as_json=as_json)


def _answers(
    names: list[str],
    urls: list[str],
    variables: list[str],
    models: tuple[str, ...],
    prefer: str | None,
    budget_usd: float | None,
    period: str,
    *,
    asks: bool,
) -> "Answers":
    """Returns the answers of the options, and of the user where they say nothing.

    Raises:
        CommandError: an option is wrong, or nobody can be asked.
    """
    from routoo.cli.commands.init import answers as known
    from routoo.cli.commands.init import questions

    if budget_usd is not None and not 0.0 < budget_usd < 1e9:
        raise CommandError(f"--budget-usd {budget_usd:g}: write a number above 0, such as 50")
    if names or urls:
        providers = known.with_keys(known.providers_of(names, urls), variables)
    elif asks:
        providers = questions.asked_providers(os.environ)
        if prefer is None:
            prefer = questions.asked_preset()
        if budget_usd is None:
            budget_usd, period = questions.asked_budget(), Period.MONTH.value
    else:
        providers = known.providers_of(known.with_set_keys(os.environ), ())
        if not providers:
            raise CommandError(
                "no provider: name one with --provider openai, or a server with --base-url"
                " http://127.0.0.1:8000/v1; or set a key, such as OPENAI_API_KEY"
            )
        providers = known.with_keys(providers, variables)
    # A budget alone means the best that it buys: its price is then the only one that counts.
    usual = "balanced" if budget_usd is None else "best"
    return known.Answers(
        providers,
        known.PREFERENCES[prefer or usual],
        models,
        budget_usd,
        known.PERIODS[period],
    )


def _found(answers: "Answers", phases: "Phases") -> "FoundModels":
    """Returns the models of the providers.

    Raises:
        CommandError: a server does not answer, a model is not known, or there is none.
    """
    import yaml

    from routoo.cli.commands.init import models as finding
    from routoo.cli.commands.init.served import served_models
    from routoo.cli.commands.pool.file import artifact_of, today
    from routoo.routing.pool import DEFAULT_POOL
    from routoo.routing.upkeep.catalogues import installed_catalogues
    from routoo.routing.upkeep.known_models import KnownModels

    found, left = finding.FoundModels(), set(answers.models)
    known = KnownModels.of(artifact_of(None))
    shipped = yaml.safe_load(DEFAULT_POOL.read_text(encoding="utf-8"))["models"]
    try:
        catalogues = installed_catalogues(today())
    except PoolError:
        catalogues = None
    taken: set[str] = set()
    for provider in answers.providers:
        if provider.base_url:
            phases.start(f"asking {provider.base_url} for its models")
            served = served_models(provider.base_url, os.environ.get(provider.key_env, ""))
            phases.finish(f"{provider.base_url} has {len(served)} models")
            wanted = [one for one in served if not answers.models or one.id in left]
            left -= {one.id for one in wanted}
            found.entries[provider.name], found.upstream_names[provider.name] = [], {}
            for one in wanted:
                entry, doubt = finding.local_model(provider.name, one, known, taken)
                found.entries[provider.name].append(entry)
                found.upstream_names[provider.name][entry["name"]] = one.id
                found.remarks += [doubt] if doubt else []
            continue
        names = tuple(one for one in answers.models if _is_of(one, provider.name) and one in left)
        if answers.models and not names:
            continue
        left -= set(names)
        sold = finding.sold_models(provider, names, shipped, catalogues, known)
        found.entries[provider.name] = list(sold)
    if left:
        raise CommandError(
            f"--model {min(left)}: none of the providers has it; `routoo models --catalogue` lists"
            " names, and a server's own GET /v1/models its ids"
        )
    lacking = [one.name for one in answers.providers if not found.entries.get(one.name)]
    if lacking:
        raise CommandError(f"{lacking[0]}: no model is taken; name one with --model, or leave it")
    return found


def _is_of(model: str, provider: str) -> bool:
    return provider == "openrouter" or model.partition("/")[0] == provider


def _written(
    answers: "Answers", found: "FoundModels", config: Path, pool: Path, phases: "Phases"
) -> "Trial":
    """Tries the two files in a folder beside their place, and moves them there.

    Raises:
        CommandError: the service would not start with them, or they cannot be written.
    """
    from routoo.cli.commands.init.texts import pool_text, settings_text
    from routoo.cli.commands.init.trial import tried

    place = config.resolve().parent
    try:
        folder = Path(mkdtemp(prefix=".routoo-init-", dir=place))
    except OSError as error:
        raise CommandError(f"{place}: cannot be written: {error.strerror}") from None
    try:
        new_config, new_pool = folder / config.name, folder / pool.name
        new_pool.write_text(pool_text(found.models), encoding="utf-8")
        text = settings_text(answers, pool.name, found.upstream_names)
        new_config.write_text(text, encoding="utf-8")
        phases.start("checking and deciding one prompt")
        try:
            trial = tried(new_config)
        except RoutooError as error:
            raise CommandError(str(error).replace(str(folder), str(place))) from None
        phases.finish("checked, and decided one prompt")
        new_pool.replace(pool)
        new_config.replace(config)
    except OSError as error:
        raise CommandError(f"{config}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return trial


def _tell(
    answers: "Answers",
    found: "FoundModels",
    trial: "Trial",
    config: Path,
    pool: Path,
    *,
    as_json: bool,
) -> None:
    from routoo.cli.commands.init import screen

    remarks = [*found.remarks, *screen.missing_keys(answers, os.environ)]
    if as_json:
        print_json(screen.as_json(answers, found, trial, remarks, (str(config), str(pool))))
    else:
        show(screen.blocks(answers, found, trial, remarks, (str(config), str(pool))))
