"""Training of the recogniser: a small network and a linear classifier on the same rows.

Both see prompts as they were written and edited, see ``edits``. The classifier is a multinomial
logistic regression on rows weighted by their rarity (Spärck Jones, 1972); the network is trained
with dropped rows, after fastText (Joulin et al., EACL 2017). Their logits are added with the
weights that are likeliest on prompts of writers that neither has read, as users' prompts are.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from routoo.errors import ArtifactError
from routoo.predictor.ngrams import REGIONS, Vocabulary
from routoo_export.errors import ExportError
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.bags import Bags, Batch, Parts
from routoo_export.recogniser.edits import edited
from routoo_export.recogniser.evaluate import Recognition
from routoo_export.recogniser.examples import Example
from routoo_export.recogniser.lengths import LengthModel
from routoo_export.recogniser.lexicon import Lexicon
from routoo_export.recogniser.network import (
    DIFFICULTIES,
    FEATURES,
    LANGUAGES,
    LENGTHS,
    FloatArray,
    Recogniser,
)
from routoo_export.recogniser.ood import OodRanks
from routoo_export.recogniser.vocabulary import make_vocabulary

LINEAR_SCALES: Final = np.array([1.0, 0.7, 0.7, 0.5, 0.4, 0.4, 1.0], np.float32)
"""How much each region counts in the linear classifier, in the order of ``REGIONS``."""
EDITED: Final = "edited:"
VOCABULARY_FILE: Final = "vocabulary.json"
WEIGHTS_FILE: Final = "recogniser.npz"
RANKS_FILE: Final = "ranks.npz"
JUDGED_FILE: Final = "judged.json"


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
    seed: int = 0


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
                prototypes=self.ood.prototypes,
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
            with np.load(folder / RANKS_FILE, allow_pickle=False) as arrays:
                ood = OodRanks(arrays["prototypes"], arrays["knots"])
                lengths = LengthModel(arrays["tokens_by_task"], arrays["tokens_by_trait"])
                means = arrays["trait_means"]
            judged = Recognition(**json.loads((folder / JUDGED_FILE).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, ArtifactError) as error:
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
    weights_of = np.repeat([1.0, settings.others], [len(unseen), len(strange)])
    logits = (first.network_logits(bags), first.linear_logits(bags))
    mix = _likeliest_mix(logits, kinds, weights_of)
    vocabulary, weights = first.vocabulary, first.merged(mix)
    hidden, hidden_unseen = (_hidden(weights, vocabulary, part) for part in (seen, unseen))
    unread = OodRanks.fit(hidden, hidden_unseen, hidden_unseen @ weights.tasks.T)
    _, traits = weights.recognise(hidden)
    shares, traits_unseen = weights.recognise(hidden_unseen)
    tokens = np.array([one.output_tokens for one in unseen])
    lengths = LengthModel.fit(shares, traits_unseen - traits.mean(axis=0), tokens)
    judged = Recognition.of(shares, kinds[: len(unseen)])
    final = _Trained.on(examples, others, lexicon, settings)
    vocabulary, weights = final.vocabulary, final.merged(mix)
    hidden = _hidden(weights, vocabulary, examples)
    _, traits = weights.recognise(hidden)
    # The ranks are those of prompts that were not trained on, which the final weights have not.
    ood = OodRanks(OodRanks.fit(hidden, hidden, hidden @ weights.tasks.T).prototypes, unread.knots)
    return TrainedRecogniser(vocabulary, weights, ood, traits.mean(axis=0), lengths, judged)


def _hidden(weights: Recogniser, vocabulary: Vocabulary, examples: Sequence[Example]) -> FloatArray:
    return weights.hidden_units(weights.pooled(vocabulary, [one.text for one in examples]))


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


class _Layers(nn.Module):
    """The network: bags of rows -> task logits and trait logits."""

    def __init__(self, rows: int, settings: RecogniserSettings) -> None:
        super().__init__()
        traits = len(LANGUAGES) + len(DIFFICULTIES) + len(LENGTHS)
        self.table = nn.EmbeddingBag(rows, settings.width, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, 0.0, 0.05)
        self.hidden = nn.Linear(len(REGIONS) * settings.width, settings.units)
        self.tasks = nn.Linear(settings.units, len(TASK_KINDS))
        self.traits = nn.Linear(settings.units, traits)
        self.dropout = nn.Dropout(settings.dropout)

    def units(self, batch: Batch) -> Tensor:
        """The hidden units [n, u]."""
        bags = self.table(batch.rows, batch.offsets, per_sample_weights=batch.weights)
        pooled = bags.reshape(-1, self.hidden.in_features)
        return functional.relu(self.hidden(self.dropout(pooled)))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        units = self.dropout(self.units(batch))
        return self.tasks(units), self.traits(units)


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
    layers: _Layers
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
        layers = _train_layers(bags, every, weights, parts.rows, settings)
        linear, bias = _train_linear(bags, kinds, weights, parts.rows, settings)
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
        product = _matrix(bags, self.parts.rows) @ self.linear
        return np.asarray(product + self.linear_bias, np.float32)

    def merged(self, mix: NDArray[np.float64]) -> Recogniser:
        """The weights that serve, with the two logits added by the factors ``mix`` [2]."""
        layers, t, regions = self.layers, len(TASK_KINDS), len(REGIONS)
        width, units = layers.table.embedding_dim, layers.hidden.out_features
        trained = [layers.table.weight.detach().numpy(), self.linear]
        table = np.concatenate([self.parts.merged(np.ascontiguousarray(one)) for one in trained], 1)
        # Linear units stand twice, the second time negated: relu keeps one of each two.
        total = units + 2 * t + 1
        hidden = np.zeros((regions, width + t, total), np.float32)
        network = layers.hidden.weight.detach().numpy().T.reshape(regions, width, units)
        hidden[:, :width, :units] = network
        for region, scale in enumerate(LINEAR_SCALES.tolist()):
            hidden[region, width:, units : units + t] = np.eye(t) * scale
            hidden[region, width:, units + t : units + 2 * t] = -np.eye(t) * scale
        bias = np.zeros(total, np.float32)
        bias[:units] = layers.hidden.bias.detach().numpy()
        bias[-1] = 1.0
        tasks = np.zeros((t, total), np.float32)
        tasks[:, :units] = mix[0] * layers.tasks.weight.detach().numpy()
        tasks[:, units : units + t] = mix[1] * np.eye(t)
        tasks[:, units + t : units + 2 * t] = -mix[1] * np.eye(t)
        tasks[:, -1] = mix[0] * layers.tasks.bias.detach().numpy() + mix[1] * self.linear_bias
        directions, centre = self.features
        traits = np.zeros((total, layers.traits.out_features + FEATURES), np.float32)
        traits[:units, :-FEATURES] = layers.traits.weight.detach().numpy().T
        traits[-1, :-FEATURES] = layers.traits.bias.detach().numpy()
        traits[:units, -FEATURES:] = directions
        traits[-1, -FEATURES:] = centre
        return Recogniser(
            table.astype(np.float32),
            hidden.reshape(regions * (width + t), total),
            bias,
            tasks,
            traits,
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


def _train_layers(
    bags: Bags,
    examples: Sequence[Example],
    weights: FloatArray,
    rows: int,
    settings: RecogniserSettings,
) -> _Layers:
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    layers = _Layers(rows, settings)
    dense = [value for name, value in layers.named_parameters() if name != "table.weight"]
    optimisers = (
        torch.optim.AdamW(dense, lr=settings.rate, weight_decay=1e-2),
        torch.optim.SparseAdam([layers.table.weight], lr=settings.table_rate),
    )
    rates = (settings.rate, settings.table_rate)
    kinds = torch.tensor([one.kind for one in examples])
    wanted, known = _trait_labels(examples)
    weight = torch.from_numpy(weights)
    n = len(examples)
    steps, step = settings.epochs * -(-n // settings.batch), 0
    for _ in range(settings.epochs):
        order = random.permutation(n)
        for start in range(0, n, settings.batch):
            rows_of_step = order[start : start + settings.batch]
            factor = min(1.0, (step + 1) / 50) * max(0.02, 1.0 - step / steps)
            step += 1
            for optimiser, rate in zip(optimisers, rates, strict=True):
                optimiser.param_groups[0]["lr"] = rate * factor
            tasks, traits = layers(
                bags.batch(
                    rows_of_step,
                    random,
                    dropped=settings.dropped,
                    words_dropped=settings.words_dropped,
                )
            )
            at = torch.from_numpy(rows_of_step)
            of_task = functional.cross_entropy(
                tasks, kinds[at], reduction="none", label_smoothing=settings.smoothing
            )
            of_traits = functional.binary_cross_entropy_with_logits(
                traits, wanted[at], weight=known[at], reduction="none"
            )
            loss = (of_task * weight[at]).mean()
            loss = loss + settings.trait_weight * (of_traits.sum(dim=1) * weight[at]).mean()
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
    return layers.eval()


def _trait_labels(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Labels of the traits but the free features, and which are known, float32 [n, r] each."""
    languages = np.array([[one.language == code for code in LANGUAGES] for one in examples])
    of_language = np.array([[one.language in LANGUAGES] for one in examples])
    difficulty = np.array([one.difficulty for one in examples])[:, None]
    tokens = np.array([one.output_tokens for one in examples])[:, None]
    labels = np.concatenate(
        [languages, difficulty >= np.array(DIFFICULTIES), tokens >= np.array(LENGTHS)], axis=1
    )
    known = np.concatenate(
        [
            np.repeat(of_language, len(LANGUAGES), 1),
            np.repeat(difficulty > 0, len(DIFFICULTIES), 1),
            np.repeat(tokens > 0, len(LENGTHS), 1),
        ],
        axis=1,
    )
    return torch.from_numpy(labels.astype(np.float32)), torch.from_numpy(known.astype(np.float32))


def _matrix(bags: Bags, rows: int) -> scipy.sparse.csr_array:
    regions = len(REGIONS)
    weights = bags.weights * LINEAR_SCALES[bags.bags % regions]
    shape = (bags.n, rows)
    return scipy.sparse.csr_array((weights, (bags.bags // regions, bags.rows)), shape=shape)


def _train_linear(
    bags: Bags,
    kinds: NDArray[np.int64],
    weights: FloatArray,
    rows: int,
    settings: RecogniserSettings,
) -> tuple[FloatArray, FloatArray]:
    matrix = _matrix(bags, rows)
    seen = np.diff(matrix.tocsc().indptr)
    used = np.flatnonzero(seen)
    rarity = (np.log((bags.n + 1) / (seen[used] + 1)) + 1.0).astype(np.float32)
    scaled = matrix[:, used] @ scipy.sparse.diags_array(rarity)
    model = LogisticRegression(C=settings.inverse_penalty, max_iter=settings.iterations, tol=1e-3)
    # Stopping after so many steps is intended: it is a regularisation, too.
    with np.errstate(all="ignore"):
        model.fit(scipy.sparse.csr_matrix(scaled), kinds, sample_weight=weights)
    linear = np.zeros((rows, len(TASK_KINDS)), np.float32)
    columns = model.classes_
    linear[np.ix_(used, columns)] = (model.coef_ * rarity).T
    bias = np.full(len(TASK_KINDS), -20.0, np.float32)
    bias[columns] = model.intercept_
    return linear, bias
