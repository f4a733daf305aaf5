"""Turns prompts into padded inputs of a graph, and its answers back into one row per prompt."""

from __future__ import annotations

import os
from bisect import bisect_left
from itertools import chain
from math import ceil, isfinite
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tokenizers import Tokenizer

from routoo.errors import ArtifactError, PredictorError
from routoo.predictor.artifact import INPUT, STATIC
from routoo.predictor.base import (
    NONSENSE,
    Bucket,
    EncodedPrompts,
    Prediction,
    Questions,
    bucket_lengths,
)
from routoo.predictor.conversation import TURN, contents, offered_tools
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import Vocabulary
from routoo.predictor.token_count import count_tokens
from routoo.predictor.word_cache import WordCache, splits_words_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Feed

    Figures: TypeAlias = Sequence[NDArray[np.float32]]
    Infer: TypeAlias = Callable[[Sequence[Feed]], Iterable[Figures]]

Cut = TypeVar("Cut", str, list[int])
READ_CHARS_PER_TOKEN = 32
"""Characters read for each token that is kept, so that a prompt of a megabyte is not tokenised
whole in order to keep 256 tokens."""
MOST_CHARS_PER_TOKEN = 8
"""A prompt of c characters counts at least c / 8 tokens: a word-piece tokenizer counts a very long
word as one unknown token, but the LLM that bills for it does not."""

OUTPUTS = ("scores", "output_tokens", "score_std", "ood", "tasks")
OF_MODELS = {"scores", "output_tokens", "score_std"}
WARM_UP_ROWS = (1, 8)
LANES = 16
"""Models are filled up to a multiple of it. The library computes the last elements of an array in
another way than those that fill its vectors; without this the last bits of a model's figures would
depend on how many models there are."""
TOLD_LOGIT = np.float32(40.0)
"""Added to the logit of a task that the caller has named, which leaves the others nothing."""


class PromptEncoder:
    """Tokenises prompts in the way that the predictor was trained with. Not thread-safe.

    Args:
        tokenizer_path: file in Hugging Face's ``tokenizers`` format.
        max_tokens: most ids kept of a prompt.
        pad_token_id: fills the rows of a bucket.
        add_special_tokens: whether the tokenizer adds special tokens.
        fine_buckets: whether buckets are fine, see ``bucket_lengths``.

    Raises:
        ArtifactError: the file is no tokenizer.
    """

    def __init__(
        self,
        tokenizer_path: Path,
        *,
        max_tokens: int,
        pad_token_id: int,
        add_special_tokens: bool,
        fine_buckets: bool = False,
    ) -> None:
        # There is one caller; the library's own threads would take CPU time from the inference.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ArtifactError(f"{tokenizer_path}: not a tokenizer: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = add_special_tokens
        self._pad = pad_token_id
        cached = not add_special_tokens and splits_words_alone(self._tokenizer)
        self._words = WordCache(self._tokenizer) if cached else None
        unknown = self._tokenizer.token_to_id("[UNK]")
        self._nothing = [pad_token_id if unknown is None else unknown]
        self.max_tokens = max_tokens
        self._bounds = list(bucket_lengths(max_tokens, fine=fine_buckets))
        self.bucket_lengths = np.array(self._bounds, dtype=np.int64)

    def encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Tokenises prompts; of one that is too long, the beginning and the end are kept."""
        most_chars = self.max_tokens * READ_CHARS_PER_TOKEN
        tools = [offered_tools(text) for text in prompts]
        prompts = [contents(text) if text[:1] == TURN else text for text in prompts]
        read = [
            text if len(text) <= most_chars else _cut_middle(text, most_chars) for text in prompts
        ]
        found = self._ids(read)
        # Python's numbers: most batches are small, and a few numbers take less time than an array.
        ids, input_tokens, truncated = [], [], []
        keep = self.max_tokens
        for text, part, tokens in zip(prompts, read, found, strict=True):
            counted, chars, read_chars = len(tokens) or 1, len(text), len(part) or 1
            ids.append((tokens or self._nothing) if counted <= keep else _cut_middle(tokens, keep))
            all_of_it = max(counted * (chars / read_chars), chars / MOST_CHARS_PER_TOKEN)
            input_tokens.append(ceil(all_of_it))
            truncated.append(counted > keep or read_chars < chars)
        lengths = np.array(input_tokens, np.float64)
        if any(tools):
            lengths += count_tokens(tools)  # they are billed, and not read here
        return EncodedPrompts(ids, lengths, np.array(truncated, np.bool_))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if self._words is None:
            return self._library_ids(texts)
        looked_up = [self._words.ids(text) for text in texts]
        rest = [text for text, ids in zip(texts, looked_up, strict=True) if ids is None]
        others = iter(self._library_ids(rest) if rest else ())
        return [next(others) if ids is None else ids for ids in looked_up]

    def _library_ids(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=self._special)
        return [encoding.ids for encoding in encodings]

    def buckets(self, encoded: EncodedPrompts) -> Iterator[Bucket]:
        """Groups prompts by length, so that there are few shapes and little padding."""
        ids = encoded.ids
        rows_of: dict[int, list[int]] = {}
        for row, one in enumerate(ids):
            length = self._bounds[bisect_left(self._bounds, len(one))]
            rows_of.setdefault(length, []).append(row)
        for length in sorted(rows_of):
            rows = rows_of[length]
            input_ids = np.full((len(rows), length), self._pad, dtype=np.int64)
            if len(rows) == 1:
                (row,) = rows
                input_ids[0, : len(ids[row])] = ids[row]
            else:
                kept = np.array([len(ids[row]) for row in rows])
                flat = chain.from_iterable(ids[row] for row in rows)
                filled = np.arange(length) < kept[:, None]
                input_ids[filled] = np.fromiter(flat, np.int64, kept.sum())
            yield Bucket(np.array(rows, np.intp), {INPUT: input_ids})

    def blank(self, rows: int, length: int) -> Feed:
        """Returns inputs of a shape, for warming up."""
        return {INPUT: np.ones((rows, length), np.int64)}


def _cut_middle(whole: Cut, keep: int) -> Cut:
    return whole[: keep - keep // 2] + whole[len(whole) - keep // 2 :]


class PaddedGraph:
    """Turns prompts into a graph's padded inputs, and its answers to them into a prediction.

    A backend asks ``questions``, runs the graph on their inputs, and hands each one's outputs, in
    the order of ``outputs``, to ``prediction``.

    Attributes:
        outputs: names of the outputs that the artifact has.
        encoder: reads prompts; not thread-safe.
        models: the m models, in the order of the columns.
        columns: their positions among the artifact's models, [m].
        tasks: the kinds of task that are told apart; empty where the graph knows none.
        constants: inputs that are the same for all prompts.
        rows_step: the number of rows of every inference is a multiple of it.
    """

    def __init__(self, artifact: Artifact, models: Sequence[str] | None = None) -> None:
        """Reads the tokenizer or the vocabulary.

        Args:
            artifact: the graph.
            models: names of the artifact's models whose rows the graph is given; None: all. A graph
                of format 1 always answers for all.

        Raises:
            ArtifactError: the file is none.
            PoolError: the artifact has no row of a model.
        """
        manifest = artifact.manifest
        self.outputs = tuple(name for name in OUTPUTS if name in manifest.output_names)
        self.table = artifact.table
        self.constants: Feed = {}
        self.tasks: tuple[str, ...] = ()
        self.models = artifact.models
        self.columns = np.arange(len(self.models))
        self._width = len(self.models)
        self.encoder: PromptEncoder | NgramEncoder
        if self.table is None:
            self.encoder = PromptEncoder(
                artifact.tokenizer_path,
                max_tokens=manifest.max_tokens,
                pad_token_id=manifest.pad_token_id,
                add_special_tokens=manifest.add_special_tokens,
                fine_buckets=manifest.backbone != STATIC,
            )
        else:
            self.encoder = NgramEncoder(Vocabulary.load(artifact.tokenizer_path))
            self.tasks = self.table.tasks
            if models is not None:
                self.models = tuple(models)
            self.columns = at = artifact.columns_of(self.models)
            padded = np.append(at, np.repeat(at[-1:], -len(at) % LANES))
            self._width = len(padded)
            rows = self.table.rows(padded)
            self.constants = {"task_rows": self.table.task_rows, "models": rows}
            both = (self.table.evidence[padded], self.table.benchmarks[padded])
            self._evidence = np.ascontiguousarray(np.concatenate(both).T)
        # The library multiplies a single row, and the last rows of a matrix, in another order than
        # the others. Without this the last bits of a prompt's figures, and sometimes its rounded
        # score, would depend on the batch that it came in.
        self.rows_step = manifest.rows_step

    def questions(self, prompts: Sequence[str], told: Sequence[str] | None = None) -> Questions:
        """Reads n >= 1 prompts, and pads them to few shapes.

        Args:
            prompts: the n prompts.
            told: the task of each as its caller names it, empty: not named; None: none is named.
                Names that the artifact does not have are not used.
        """
        started_ns = perf_counter_ns()
        encoded = self.encoder.encode(prompts)
        tokenized_ns = perf_counter_ns()
        # mypy cannot tell that an encoder's buckets take what it has encoded.
        buckets = list(self.encoder.buckets(encoded))  # type: ignore[arg-type]
        if self.tasks:
            for bucket in buckets:
                bucket.feed["told"] = self._told(bucket.rows.tolist(), told)
        return Questions(
            input_tokens=encoded.input_tokens,
            truncated=encoded.truncated,
            rows=[bucket.rows for bucket in buckets],
            inputs=[self.filled(bucket.feed) for bucket in buckets],
            tokenize_ns=tokenized_ns - started_ns,
            tokenized_ns=tokenized_ns,
        )

    def _told(self, prompts: list[int], told: Sequence[str] | None) -> NDArray[np.float32]:
        logits = np.zeros((len(prompts), len(self.tasks)), np.float32)
        if told is not None:
            for row, prompt in enumerate(prompts):
                if told[prompt] in self.tasks:
                    logits[row, self.tasks.index(told[prompt])] = TOLD_LOGIT
        return logits

    def prediction(
        self, asked: Questions, answers: Sequence[Figures], served_by: str, version: str
    ) -> Prediction:
        """Sorts a graph's answers back to the order of the prompts, and checks them.

        Args:
            asked: the questions.
            answers: the graph's outputs for each of their matrices.
            served_by: the backend that has answered.
            version: the artifact that it runs.

        Raises:
            PredictorError: an answer has a wrong shape, figures that are not finite, or lengths
                below 0.
        """
        for feed, answer in zip(asked.inputs, answers, strict=True):
            self._check(answer, len(feed[INPUT]))
        n, m = len(asked.input_tokens), len(self.models)
        if len(answers) == 1:  # most batches, and every single prompt: nothing to sort
            figures = dict(zip(self.outputs, answers[0], strict=True))
            if len(figures["scores"]) > n:
                figures = {name: values[:n] for name, values in figures.items()}
        else:
            figures = {name: np.empty(self.shape(name, n), np.float32) for name in self.outputs}
            for rows, answer in zip(asked.rows, answers, strict=True):
                for name, values in zip(self.outputs, answer, strict=True):
                    figures[name][rows] = values[: len(rows)]
        evidence = averages = None
        if self.tasks:
            both = figures["tasks"] @ self._evidence
            evidence, averages = both[:, :m], both[:, self._width : self._width + m]
        if self._width > m:
            for name in figures.keys() & OF_MODELS:
                figures[name] = figures[name][:, :m]
        prediction = Prediction(
            scores=figures["scores"],
            output_tokens=figures["output_tokens"],
            input_tokens=asked.input_tokens,
            truncated=asked.truncated,
            tokenize_ns=asked.tokenize_ns,
            predict_ns=perf_counter_ns() - asked.tokenized_ns,
            score_std=figures.get("score_std"),
            ood=figures.get("ood"),
            tasks=figures.get("tasks"),
            task_names=self.tasks,
            evidence=evidence,
            averages=averages,
            served_by=served_by,
            version=version,
        )
        return checked(prediction, n, m)

    def warm_up(self, infer: Infer) -> None:
        """Tokenises, and runs every bucket length once with one row and with several."""
        self.run(self.questions(["warm up"]).inputs, infer)
        for length in self.encoder.bucket_lengths.tolist():
            for rows in WARM_UP_ROWS:
                feed = self.encoder.blank(rows, length)
                if self.tasks:
                    feed["told"] = self._told([0] * rows, None)
                self.run([self.filled(feed)], infer)

    def run(self, filled: Sequence[Feed], infer: Infer) -> list[Figures]:
        """Returns the graph's answers to inputs.

        Raises:
            PredictorError: an answer does not have the shape of its question.
        """
        answers = list(infer(filled))
        for feed, answer in zip(filled, answers, strict=True):
            self._check(answer, len(feed[INPUT]))
        return answers

    def _check(self, answer: Figures, rows: int) -> None:
        for name, values in zip(self.outputs, answer, strict=True):
            if values.shape != self.shape(name, rows):
                raise _misshapen(name, values, self.shape(name, rows))

    def filled(self, feed: Feed) -> Feed:
        """Repeats the k rows of inputs until their number is a multiple of ``rows_step``.

        The constant inputs are added.
        """
        rows = len(feed[INPUT])
        missing = -rows % self.rows_step
        if missing:
            at = np.arange(rows + missing) % rows
            feed = {name: values.take(at, axis=0) for name, values in feed.items()}
        return feed | self.constants if self.constants else feed

    def parts(self, feed: Feed, most_rows: int) -> Iterator[Feed]:
        """Yields inputs in parts of at most ``most_rows`` rows; each has all constant inputs."""
        rows = len(feed[INPUT])
        if rows <= most_rows:
            yield feed
            return
        for row in range(0, rows, most_rows):
            yield {
                name: values if name in self.constants else values[row : row + most_rows]
                for name, values in feed.items()
            }

    def shape(self, output: str, rows: int) -> tuple[int, ...]:
        """Returns the shape of an output for so many rows."""
        if output == "ood":
            return (rows,)
        return (rows, len(self.tasks) if output == "tasks" else self._width)


def checked(prediction: Prediction, n: int, m: int) -> Prediction:
    """Returns the prediction, if it is one of n prompts on m models.

    Every backend checks its predictions here; they are not checked again.

    Raises:
        PredictorError: wrong shapes, figures that are not finite, or lengths below 0.
    """
    if prediction.truncated.shape != (n,):
        raise _misshapen("truncated", prediction.truncated, (n,))
    for name, figures, expected in (
        ("scores", prediction.scores, (n, m)),
        ("output_tokens", prediction.output_tokens, (n, m)),
        ("input_tokens", prediction.input_tokens, (n,)),
        ("score_std", prediction.score_std, (n, m)),
        ("ood", prediction.ood, (n,)),
        ("tasks", prediction.tasks, (n, len(prediction.task_names))),
    ):
        if figures is None:
            continue
        if figures.shape != expected:
            raise _misshapen(name, figures, expected)
        # The sum shows any NaN or infinity without an array of flags.
        if not isfinite(np.add.reduce(figures, axis=None)):
            raise PredictorError(
                f"the predictor answered NaN or an infinite number in {name}", kind=NONSENSE
            )
        if name == "output_tokens" and np.minimum.reduce(figures, axis=None) < 0.0:
            raise PredictorError("the predictor answered a length below 0", kind=NONSENSE)
    return prediction


def _misshapen(name: str, figures: NDArray[Any], expected: tuple[int, ...]) -> PredictorError:
    return PredictorError(
        f"the predictor answered {name} {figures.shape}, expected {expected}", kind=NONSENSE
    )
