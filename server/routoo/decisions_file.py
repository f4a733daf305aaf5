"""The batch command's output: JSON Lines, one decision per line, in the order of the prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import orjson

from routoo.client import to_dict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.v1.route_pb2 import RouteResponse


def write_lines(stream: BinaryIO, decisions: Iterable[RouteResponse]) -> None:
    """Writes one JSON object per decision and line."""
    stream.writelines(
        orjson.dumps(to_dict(decision), option=orjson.OPT_APPEND_NEWLINE) for decision in decisions
    )
