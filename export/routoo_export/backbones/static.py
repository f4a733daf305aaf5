"""The static backbone: a table of projected token vectors, pooled; no transformer runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from routoo_export.backbones.base import BackboneSpec
from routoo_export.backbones.batches import batched_features
from routoo_export.backbones.compute import Compute
from routoo_export.backbones.distil import distil
from routoo_export.backbones.packages import MINILM_NAME
from routoo_export.backbones.token_table import (
    SIDE_FEATURES,
    PromptFeatures,
    TokenTable,
    project_table,
)
from routoo_export.backbones.token_vectors import PAD_TOKEN_ID, load_token_vectors
from routoo_export.backbones.tokens import encode_prompts, length_batches, parse_tokenizer

TABLE_FILE: Final = "token_table.npz"
TOKENIZER_FILE: Final = "tokenizer.json"
_ROWS: Final = 64


def encode_static(prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each prompt, as every static backbone with ``max_tokens`` reads it."""
    return encode_prompts(
        parse_tokenizer(load_token_vectors().tokenizer_json),
        prompts,
        max_tokens=max_tokens,
        pad_token_id=PAD_TOKEN_ID,
    )


@dataclass(frozen=True, slots=True)
class StaticBackbone:
    """A backbone whose features are pooled, projected token vectors and side features.

    Attributes:
        table: The projected token vectors, which share one scale.
        tokenizer_json: The tokenizer in the format of ``tokenizers``.
        max_tokens: Longer prompts are cut from their middle.
    """

    table: TokenTable
    tokenizer_json: str
    max_tokens: int

    @classmethod
    def fit(cls, prompts: Sequence[str], width: int, max_tokens: int) -> "StaticBackbone":
        """Project all-MiniLM-L6-v2's token vectors onto ``width`` directions of ``prompts``."""
        return cls.fit_ids(encode_static(prompts, max_tokens), width, max_tokens)

    @classmethod
    def fit_ids(
        cls,
        ids: Sequence[Sequence[int]],
        width: int,
        max_tokens: int,
        states: NDArray[np.float32] | None = None,
    ) -> "StaticBackbone":
        """Fit the backbone on prompts whose token ids are known.

        Args:
            ids: Token ids of the n prompts, from ``encode_static``.
            width: Principal directions to keep.
            max_tokens: Longer prompts are cut from their middle.
            states: A teacher's states of the same prompts, float32 [n, d], from which the token
                vectors are distilled first (see ``distil``); None = without distillation.
        """
        vectors = load_token_vectors()
        if states is not None:
            vectors = distil(vectors, ids, states)
        return cls(project_table(vectors, ids, width), vectors.tokenizer_json, max_tokens)

    @property
    def spec(self) -> BackboneSpec:
        return BackboneSpec(
            kind="static",
            name=MINILM_NAME,
            licence="Apache-2.0",
            max_tokens=self.max_tokens,
            pad_token_id=PAD_TOKEN_ID,
            add_special_tokens=False,
            groups=(self.table.codes.shape[1], *(1,) * SIDE_FEATURES),
        )

    def module(self) -> PromptFeatures:
        return PromptFeatures(self.table)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        return encode_prompts(
            parse_tokenizer(self.tokenizer_json),
            prompts,
            max_tokens=self.max_tokens,
            pad_token_id=PAD_TOKEN_ID,
        )

    def features(
        self, ids: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        return batched_features(
            self.module(),
            self.spec,
            ids,
            batches=length_batches(ids, _ROWS),
            compute=Compute(),
            progress=progress,
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {field.name: getattr(self.table, field.name) for field in fields(TokenTable)}
        np.savez_compressed(folder / TABLE_FILE, max_tokens=np.int64(self.max_tokens), **arrays)
        (folder / TOKENIZER_FILE).write_text(self.tokenizer_json, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "StaticBackbone":
        """Read a backbone that ``save`` wrote.

        Raises:
            OSError: a file cannot be read.
            KeyError: an array is missing.
            ValueError: a file is broken.
        """
        with np.load(folder / TABLE_FILE) as arrays:
            table = TokenTable(**{field.name: arrays[field.name] for field in fields(TokenTable)})
            max_tokens = int(arrays["max_tokens"])
        tokenizer_json = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        return cls(table, tokenizer_json, max_tokens)
