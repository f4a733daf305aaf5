"""Training of the recogniser: a small network and a linear classifier on the same rows.

Both see prompts as they were written and edited, see ``edits``; ``layers`` and ``linear`` hold the
two. Their logits are added with the weights that are likeliest on prompts of writers that neither
has read, as users' prompts are.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from routoo.errors import ArtifactError
from routoo.predictor.ngrams import Vocabulary
from routoo_export.errors import ExportError
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.bags import Bags, Batch, Parts
from routoo_export.recogniser.edits import edited
from routoo_export.recogniser.evaluate import Recognition
from routoo_export.recogniser.examples import Example
from routoo_export.recogniser.layers import Layers, train_layers
from routoo_export.recogniser.lengths import LengthModel
from routoo_export.recogniser.lexicon import Lexicon
from routoo_export.recogniser.linear import LINEAR_SCALES, region_matrix, train_linear
from routoo_export.recogniser.network import (
    FEATURES,
    FloatArray,
    Recogniser,
)
from routoo_export.recogniser.ood import OodRanks
from routoo_export.recogniser.settings import RecogniserSettings
from routoo_export.recogniser.vocabulary import make_vocabulary

EDITED: Final = "edited:"
VOCABULARY_FILE: Final = "vocabulary.json"
WEIGHTS_FILE: Final = "recogniser.npz"
RANKS_FILE: Final = "ranks.npz"
JUDGED_FILE: Final = "judged.json"


_UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    BadZipFile,
    ArtifactError,
)


@dataclass(frozen=True, slots=True)
class TrainedRecogniser:
    """A recogniser with its vocabulary.

    Attributes:
        vocabulary: The rows of n-grams.
        recogniser: The weights.
        ood: The measure of unusual prompts.
        trait_means: Each trait's mean over the examples, [r].
        lengths: Expected lengths of answers.
        judged: How prompts of writers that were left out at first were recognised.
    """

    vocabulary: Vocabulary
    recogniser: Recogniser
    ood: OodRanks
    trait_means: FloatArray
    lengths: LengthModel
    judged: Recognition

    def save(self, folder: Path) -> None:
        """Write both into a folder, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(folder / VOCABULARY_FILE)
        self.recogniser.save(folder / WEIGHTS_FILE)
        judged = json.dumps(asdict(self.judged), indent=1)
        (folder / JUDGED_FILE).write_text(judged + "\n", encoding="utf-8")
        with (folder / RANKS_FILE).open("wb") as file:
            np.savez(
                file,
                directions=self.ood.directions,
                offset=self.ood.offset,
                centres=self.ood.centres,
                knots=self.ood.knots,
                trait_means=self.trait_means,
                tokens_by_task=self.lengths.by_task,
                tokens_by_trait=self.lengths.by_trait,
            )

    @classmethod
    def load(cls, folder: Path) -> "TrainedRecogniser":
        """Read what ``save`` wrote.

        Raises:
            ExportError: a file is missing or no such file.
        """
        recogniser = Recogniser.load(folder / WEIGHTS_FILE)
        try:
            vocabulary = Vocabulary.load(folder / VOCABULARY_FILE)
            path = folder / RANKS_FILE
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                ood = OodRanks(**{one.name: arrays[one.name] for one in fields(OodRanks)})
                lengths = LengthModel(arrays["tokens_by_task"], arrays["tokens_by_trait"])
                means = arrays["trait_means"]
            judged = Recognition(**json.loads((folder / JUDGED_FILE).read_bytes()))
        except _UNREADABLE as error:
            raise ExportError(f"{folder}: not a recogniser: {error}; train one first") from error
        return cls(vocabulary, recogniser, ood, means, lengths, judged)


def train_recogniser(
    examples: Sequence[Example],
    others: Sequence[Example],
    lexicon: Lexicon,
    settings: RecogniserSettings | None = None,
) -> TrainedRecogniser:
    """Train on all examples; the weighing of the two parts is found on a share that is left out.

    Args:
        examples: Prompts written for this project.
        others: Other prompts, which count less.
        lexicon: Words that share what is learnt of them.
        settings: How to train; None = the defaults.
    """
    settings = settings or RecogniserSettings()
    seen = [one for one in examples if one.source not in settings.held_out]
    unseen = [one for one in examples if one.source in settings.held_out]
    seen_others = [one for one in others if one.source not in settings.held_out]
    strange = [one for one in others if one.source in settings.held_out]
    first = _Trained.on(seen, seen_others, lexicon, settings)
    bags = Bags([one.text for one in [*unseen, *strange]], first.vocabulary, first.parts)
    kinds = np.array([one.kind for one in [*unseen, *strange]])
    weights_of = np.repeat([1.0, settings.strange], [len(unseen), len(strange)])
    logits = (first.network_logits(bags), first.linear_logits(bags))
    mix = _likeliest_mix(logits, kinds, weights_of)
    weights = first.merged(mix)
    known = weights.pooled(first.vocabulary, [one.text for one in (*seen, *seen_others)])
    pooled = weights.pooled(first.vocabulary, [one.text for one in unseen])
    hidden, hidden_unseen = weights.hidden_units(known[: len(seen)]), weights.hidden_units(pooled)
    unread = OodRanks.fit(known, origins((*seen, *seen_others)))
    unread = unread.ranked_among(pooled, hidden_unseen @ weights.tasks.T)
    _, traits = weights.recognise(hidden)
    shares, traits_unseen = weights.recognise(hidden_unseen)
    tokens = np.array([one.output_tokens for one in unseen])
    lengths = LengthModel.fit(shares, traits_unseen - traits.mean(axis=0), tokens)
    judged = Recognition.of(shares, kinds[: len(unseen)])
    final = _Trained.on(examples, others, lexicon, settings)
    weights = final.merged(mix)
    pooled = weights.pooled(final.vocabulary, [one.text for one in (*examples, *others)])
    _, traits = weights.recognise(weights.hidden_units(pooled[: len(examples)]))
    # The ranks are those of prompts that were not trained on, which the final weights have not.
    ood = replace(OodRanks.fit(pooled, origins((*examples, *others))), knots=unread.knots)
    means = traits.mean(axis=0)
    return TrainedRecogniser(final.vocabulary, weights, ood, means, lengths, judged)


def train_weights(
    examples: Sequence[Example],
    others: Sequence[Example],
    lexicon: Lexicon,
    mix: NDArray[np.float64],
    settings: RecogniserSettings | None = None,
) -> tuple[Vocabulary, Recogniser]:
    """Train the weights alone, once, with the logits added by the factors ``mix`` [2]."""
    trained = _Trained.on(examples, others, lexicon, settings or RecogniserSettings())
    return trained.vocabulary, trained.merged(mix)


def origins(examples: Sequence[Example]) -> list[tuple[str, int]]:
    """Where each prompt comes from, for ``OodRanks.fit``: its source, and its kind within it."""
    return [(one.source, one.kind) for one in examples]


def _likeliest_mix(
    both: tuple[FloatArray, FloatArray], kinds: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Factors of the two logits [n, t] by which the weighted kinds [n] are likeliest."""
    network, linear = both
    rows = np.arange(len(kinds))

    def loss(factors: NDArray[np.float64]) -> float:
        logits = factors[0] * network + factors[1] * linear
        top = logits.max(axis=1)
        total = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
        return float(np.average(total - logits[rows, kinds], weights=weights))

    found = minimize(loss, np.array([0.6, 0.6]), method="Nelder-Mead")
    return np.asarray(found.x, np.float64)


@dataclass(frozen=True, slots=True)
class _Trained:
    """Both parts, trained on the same prompts.

    Attributes:
        vocabulary: The rows.
        parts: What they are the sums of.
        layers: The network.
        linear: Weights of the linear classifier, [trained rows, t].
        linear_bias: Its biases, [t].
        features: Directions of the hidden units that vary most, [u, FEATURES + 1]; the last row of
            each is subtracted.
    """

    vocabulary: Vocabulary
    parts: Parts
    layers: Layers
    linear: FloatArray
    linear_bias: FloatArray
    features: tuple[FloatArray, FloatArray]

    @classmethod
    def on(
        cls,
        examples: Sequence[Example],
        others: Sequence[Example],
        lexicon: Lexicon,
        settings: RecogniserSettings,
    ) -> "_Trained":
        """Train on these prompts."""
        random = np.random.default_rng(settings.seed)
        copies = [
            replace(one, text=edited(one.text, random), source=EDITED + one.source)
            for one in examples
        ]
        every = [*examples, *copies, *others]
        weights = np.repeat(
            np.array([1.0, settings.edited, settings.others], np.float32),
            [len(examples), len(copies), len(others)],
        )
        vocabulary = make_vocabulary(one.text for one in [*examples, *others])
        parts = Parts.of(vocabulary, lexicon)
        bags = Bags([one.text for one in every], vocabulary, parts)
        kinds = np.array([one.kind for one in every])
        layers = train_layers(bags, every, weights, parts.rows, settings)
        linear, bias = train_linear(bags, kinds, weights, parts.rows, settings)
        with torch.inference_mode():
            units = np.concatenate(
                [layers.units(batch).numpy() for batch in _batches(bags, len(examples))]
            )
        return cls(vocabulary, parts, layers, linear, bias, _directions(units))

    def network_logits(self, bags: Bags) -> FloatArray:
        """Task logits of the network, [n, t]."""
        with torch.inference_mode():
            found = [self.layers(batch)[0].numpy() for batch in _batches(bags, bags.n)]
        return np.concatenate(found)

    def linear_logits(self, bags: Bags) -> FloatArray:
        """Logits of the linear classifier, [n, t]."""
        product = region_matrix(bags, self.parts.rows) @ self.linear
        return np.asarray(product + self.linear_bias, np.float32)

    def merged(self, mix: NDArray[np.float64]) -> Recogniser:
        """The weights that serve, with the two logits added by the factors ``mix`` [2]."""
        layers, t = self.layers, len(TASK_KINDS)
        units = layers.hidden.out_features
        trained = [layers.table.weight.detach().numpy(), self.linear]
        table = np.concatenate([self.parts.merged(np.ascontiguousarray(one)) for one in trained], 1)
        network = layers.hidden.weight.detach().numpy().T
        tasks = np.zeros((t, units + 1 + t), np.float32)
        tasks[:, :units] = mix[0] * layers.tasks.weight.detach().numpy()
        tasks[:, units] = mix[0] * layers.tasks.bias.detach().numpy() + mix[1] * self.linear_bias
        tasks[:, units + 1 :] = mix[1] * np.eye(t)
        directions, centre = self.features
        traits = np.zeros((units + 1 + t, layers.traits.out_features + FEATURES), np.float32)
        traits[:units, :-FEATURES] = layers.traits.weight.detach().numpy().T
        traits[units, :-FEATURES] = layers.traits.bias.detach().numpy()
        traits[:units, -FEATURES:] = directions
        traits[units, -FEATURES:] = centre
        return Recogniser(
            table=table.astype(np.float32),
            hidden=np.pad(network, ((0, 0), (0, 1))).astype(np.float32),
            hidden_bias=np.append(layers.hidden.bias.detach().numpy(), np.float32(1.0)),
            scales=LINEAR_SCALES,
            tasks=tasks,
            traits=traits,
        )


def _batches(bags: Bags, n: int) -> list[Batch]:
    step = 512
    return [bags.batch(np.arange(at, min(at + step, n))) for at in range(0, n, step)]


def _directions(units: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Principal directions of hidden units [n, u], scaled to unit deviation, and their offsets."""
    centre = units.mean(axis=0)
    _, spread, directions = np.linalg.svd(units - centre, full_matrices=False)
    found = directions[:FEATURES] / (spread[:FEATURES, None] / np.sqrt(len(units)))
    # The signs that the decomposition leaves open are fixed by each direction's largest weight.
    at = np.abs(found).argmax(axis=1)
    found *= np.sign(found[np.arange(len(found)), at])[:, None]
    return found.T.astype(np.float32), (-found @ centre).astype(np.float32)
