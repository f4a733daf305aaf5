"""``routoo-export train``: training a checkpoint on outcomes."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from routoo_export.backbones.base import Kind
from routoo_export.backbones.compute import Device, choose_compute
from routoo_export.backbones.config import Pooling, StateScale
from routoo_export.cli.common import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointFolder,
    Threads,
    print_result,
    progress_bar,
    use_threads,
)
from routoo_export.cli.evaluate import judge_checkpoint, judge_on_own
from routoo_export.cli.train_logged import is_logged, train_on_log
from routoo_export.cli.train_own import OWN_REPOSITORY, train_on_own
from routoo_export.training.checkpoint import save_checkpoint
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import STATE_FILE, Workplace, train_predictor
from routoo_export.training.recipes import make_recipe, parse_layers, quick_recipe
from routoo_export.training.supervision.files import (
    Goal,
    LogChoice,
    SupervisionFiles,
    read_supervision,
)

UNFINISHED_FOLDER: Final = "unfinished"
_OF_BACKBONE: Final = "Backbone"
_OF_TUNING: Final = "Fine-tuning"
_OF_OUTCOMES: Final = "Outcomes"


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


def train(  # noqa: PLR0913 - one parameter per option
    *,
    data: Annotated[
        Path | None,
        _option(_OF_OUTCOMES, "Folder with the standard sources.", envvar="ROUTOO_DATA"),
    ] = None,
    outcomes: Annotated[
        list[Path] | None,
        _option(_OF_OUTCOMES, "Your own outcomes, instead of the standard ones; repeatable."),
    ] = None,
    objective: Annotated[Goal, _option(_OF_OUTCOMES, "What to learn.")] = "log-loss",
    log_method: Annotated[
        LogChoice | None,
        _option(_OF_OUTCOMES, "The outcomes are logs with propensities; how they count."),
    ] = None,
    small: Annotated[str | None, _option(_OF_OUTCOMES, "quality-gap: the cheap model.")] = None,
    large: Annotated[str | None, _option(_OF_OUTCOMES, "quality-gap: the expensive model.")] = None,
    relaxation: Annotated[
        float | None, _option(_OF_OUTCOMES, "quality-gap: t; default: as in the paper.")
    ] = None,
    samples: Annotated[
        Path | None, _option(_OF_OUTCOMES, "quality-gap: several scores per prompt and model.")
    ] = None,
    artifact: Annotated[
        Path | None,
        _option(_OF_OUTCOMES, "Version folder whose graph is kept; default: the shipped one."),
    ] = None,
    prices: Annotated[
        Path | None, _option(_OF_OUTCOMES, "Prices, .csv or a pool file; default: the pool's.")
    ] = None,
    test: Annotated[
        list[Path] | None, _option(_OF_OUTCOMES, "Judge on these outcomes, not by five folds.")
    ] = None,
    repository: Annotated[
        Path, _option(_OF_OUTCOMES, "Without --backbone: where the next version is written.")
    ] = OWN_REPOSITORY,
    out: CheckpointFolder = DEFAULT_CHECKPOINT,
    backbone: Annotated[
        Kind | None,
        _option(_OF_BACKBONE, "Train a network that reads the prompt; default: none is trained."),
    ] = None,
    model: Annotated[
        str | None,
        _option(_OF_BACKBONE, "Folder, GGUF file or Hugging Face name; default: the packaged one."),
    ] = None,
    layers: Annotated[
        str | None, _option(_OF_BACKBONE, "Pooled layers, as 3 or 6,8,10; 0 = embeddings.")
    ] = None,
    pooling: Annotated[Pooling | None, _option(_OF_BACKBONE, "Of the tokens' states.")] = None,
    state_scale: Annotated[
        StateScale | None, _option(_OF_BACKBONE, "Divides each token's state before pooling.")
    ] = None,
    unpooled: Annotated[
        int | None, _option(_OF_BACKBONE, "Tokens at the beginning left out of the mean.", min=0)
    ] = None,
    special_tokens: Annotated[
        bool | None, _option(_OF_BACKBONE, "Add the tokenizer's own special tokens.")
    ] = None,
    max_tokens: Annotated[
        int | None, _option(_OF_BACKBONE, "Longer prompts lose their middle.", min=2)
    ] = None,
    licence: Annotated[str | None, _option(_OF_BACKBONE, "Of --model, SPDX.")] = None,
    cache: Annotated[
        Path | None, _option(_OF_BACKBONE, "Folder that keeps a transformer's features.")
    ] = None,
    device: Annotated[Device, _option(_OF_BACKBONE, "Where a transformer runs.")] = "auto",
    finetune: Annotated[
        bool | None,
        _option(_OF_TUNING, "Tune the transformer's weights.", "--finetune/--frozen"),
    ] = None,
    epochs: Annotated[int | None, _option(_OF_TUNING, "Passes over the prompts.", min=1)] = None,
    exits: Annotated[
        str | None, _option(_OF_TUNING, "Further layers that get a head, as 3 or 3,4.")
    ] = None,
    lora_rank: Annotated[
        int | None, _option(_OF_TUNING, "Rank of LoRA; 0 tunes all weights.", min=0)
    ] = None,
    learning_rate: Annotated[float | None, _option(_OF_TUNING, "Its peak.")] = None,
    batch_size: Annotated[int | None, _option(_OF_TUNING, "Prompts per step.", min=1)] = None,
    resume: Annotated[
        bool, _option(_OF_TUNING, "Go on from the state of an interrupted run.", "--resume")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same predictor.")] = TrainConfig().seed,
    judge: Annotated[bool, typer.Option(help="Evaluate afterwards, as export requires.")] = True,
    quick: Annotated[bool, typer.Option(help="Much smaller, for trying things out.")] = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Fit your models to your outcomes, judge them, and write the next version of the predictor.

    With --backbone, a network is trained instead, and a checkpoint is written.
    """
    use_threads(threads)
    if (
        backbone is None
        and outcomes
        and log_method is None
        and objective == "log-loss"
        and (is_logged(outcomes))
    ):
        train_on_log(outcomes, repository, artifact=artifact, as_json=as_json)
        return
    if backbone is None and _only_rows(outcomes, objective, log_method):
        train_on_own(
            outcomes or [],
            repository,
            artifact=artifact,
            prices=prices,
            test=test,
            judged=judge,
            as_json=as_json,
        )
        return
    backbone = backbone or "static"
    files = SupervisionFiles(
        goal=objective,
        data=data,
        outcomes=tuple(outcomes or ()),
        log_method=log_method,
        small=small,
        large=large,
        relaxation=relaxation,
        samples=samples,
    )
    recipe = make_recipe(
        backbone,
        TrainConfig(objective=files.objective, seed=seed),
        tuned=finetune,
        reading={
            "model": model,
            "layers": parse_layers("--layers", layers),
            "pooling": pooling,
            "state_scale": state_scale,
            "unpooled": unpooled,
            "add_special_tokens": special_tokens,
            "max_tokens": max_tokens,
            "licence": licence,
        },
        tuning={
            "epochs": epochs,
            "exits": parse_layers("--exits", exits),
            "lora_rank": lora_rank,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
        },
    )
    recipe = quick_recipe(recipe) if quick else recipe
    unfinished = out / UNFINISHED_FOLDER
    workplace = Workplace(choose_compute(device), cache, unfinished, resume, progress_bar)
    checkpoint = train_predictor(read_supervision(files), recipe, workplace)
    save_checkpoint(checkpoint, out)
    (unfinished / STATE_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # never made, or not empty
        unfinished.rmdir()
    result = {
        "checkpoint": str(out),
        "config": asdict(recipe.heads),
        "backbone": asdict(recipe.backbone),
        "finetune": None if recipe.finetune is None else asdict(recipe.finetune),
        "metrics": _judge(files, out, workplace) if judge else {},
    }
    print_result(result, as_json=as_json)


def _only_rows(outcomes: list[Path] | None, objective: Goal, log_method: LogChoice | None) -> bool:
    """Whether rows of the table of models are all that is to be fitted."""
    return bool(outcomes) and objective == "log-loss" and log_method is None


def _judge(files: SupervisionFiles, out: Path, workplace: Workplace) -> dict[str, Any]:
    """Judge the checkpoint, except on logs and battles, which lack the other models' outcomes."""
    if files.log_method is not None or files.goal == "bradley-terry":
        return {}
    if files.outcomes:
        return judge_on_own(out, list(files.outcomes), workplace)
    return {} if files.data is None else judge_checkpoint(files.data, out, workplace)
