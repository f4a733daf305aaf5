"""Files with a chat and with tools, in the form of a request's body to an LLM."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from routoo.cli.options.common import stdin_text
from routoo.cli.output.errors import CommandError

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


def messages_in(file: Path) -> list[dict[str, str]]:
    """Reads a chat: a list of messages, or an object with ``messages``; - is stdin.

    A message has ``role`` and ``content``: a text, or a list of parts of text. Of content that is
    no text, nothing can be decided here, so that it is refused.

    Raises:
        CommandError: the file cannot be read, or is no chat; one line.
    """
    value = _json_in(file)
    if isinstance(value, dict):
        value = value.get("messages")
    if not isinstance(value, list) or not value:
        raise CommandError(
            f'{file}: holds no chat; write [{{"role": "user", "content": "..."}}, ...]'
        )
    return [_message(one, f"{file}: message {number}") for number, one in enumerate(value, 1)]


def tool_tokens_in(file: Path) -> int:
    """Counts the tokens of a list of tools, or of an object with ``tools``; - is stdin.

    They are those of the tokenizer that needs the most, as it is not known yet who reads them.

    Raises:
        CommandError: the file cannot be read, or is no list of tools; one line.
    """
    value = _json_in(file)
    if isinstance(value, dict):
        value = value.get("tools")
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise CommandError(f'{file}: holds no tools; write [{{"type": "function", ...}}, ...]')
    from routoo.predictor.tokenizers.families import count_by_family  # noqa: PLC0415 - numpy

    return int(count_by_family([orjson.dumps(value).decode()]).max())


def _json_in(file: Path) -> Any:
    try:
        text = stdin_text() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}; name a JSON file") from None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        line, column = error.lineno, error.colno
        raise CommandError(f"{file}:{line}:{column}: no JSON: {error.msg}") from None


def _message(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise CommandError(f'{where} has no "role"; write {{"role": "user", "content": "..."}}')
    content = value.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(_texts(content, where))
    return {"role": value["role"], "content": content}


def _texts(parts: Any, where: str) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else [parts]:
        is_text = isinstance(part, dict) and part.get("type") in _TEXT_PARTS
        if not is_text or not isinstance(part.get("text"), str):
            raise CommandError(
                f"{where} has a part that is no text; send texts, and name what else the model has"
                " to take with --require and --added-input-tokens"
            )
        yield part["text"]
