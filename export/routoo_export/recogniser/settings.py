"""Settings of the training of the recogniser."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecogniserSettings:
    """How the recogniser is trained.

    Attributes:
        width: Columns of the table that the network reads.
        units: Hidden units of the network.
        epochs: Passes over the prompts.
        batch: Prompts in a step.
        table_rate: Learning rate of the table.
        rate: Learning rate of the layers.
        dropout: Share of the inputs of each layer that is dropped.
        dropped: Share of the rows that is dropped.
        words_dropped: Share of the words' own rows that is dropped.
        smoothing: Share of the label that is spread over all kinds.
        trait_weight: Weight of the traits' loss.
        others: Weight of a prompt that was not written for this project.
        edited: Weight of the edited copy of a prompt.
        inverse_penalty: ``C`` of the logistic regression.
        iterations: Its steps.
        held_out: Sources on whose prompts the two are weighed, and unusual prompts ranked.
        strange: Weight of held-out prompts that were not written for this project: as users write
            otherwise than any writer, but not as far from it, and those labels are coarser.
        seed: Seed of everything random.
    """

    width: int = 40
    units: int = 128
    epochs: int = 8
    batch: int = 64
    table_rate: float = 0.01
    rate: float = 2e-3
    dropout: float = 0.3
    dropped: float = 0.1
    words_dropped: float = 0.2
    smoothing: float = 0.05
    trait_weight: float = 0.3
    others: float = 0.3
    edited: float = 0.4
    inverse_penalty: float = 20.0
    iterations: int = 40
    held_out: tuple[str, ...] = (
        "en_work",
        "wording",
        "task_prompts:mt_bench_multi",
        "task_prompts:biggen_bench",
        "task_prompts:self_instruct",
    )
    strange: float = 0.1
    seed: int = 0
