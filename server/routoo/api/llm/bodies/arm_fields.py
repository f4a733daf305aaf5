"""The fields by which a body asks for an arm; what the caller has set is left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from routoo.api.llm.bodies.request_body import places_of
from routoo.api.llm.body import whole
from routoo.routing.arms.parameters import LIMIT_FIELDS, parameters_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.routing.arms.spec import Api, ArmSpec

_SPACE = b" \t\r\n"  # JSON's


def changes_for(
    body: RequestBody, api: Api, model: str | None, arm: ArmSpec | None, longest: int | None
) -> dict[tuple[int, int], bytes]:
    """Returns what has to change in a body so that it asks for a model, see ``changes``.

    Args:
        body: the request, as it came.
        api: the API of the request.
        model: the model; None: the name in the body stays.
        arm: the arm that the model is asked for; None: it has none.
        longest: the longest answer, in tokens; None: the request's own, or the arm's.
    """
    fields = {} if arm is None else arm_fields(body, arm, api)
    if longest is not None:
        fields[LIMIT_FIELDS[api][0]] = b"%d" % longest
    return body.changes(model, fields)


def arm_fields(body: RequestBody, arm: ArmSpec, api: Api) -> dict[str, bytes]:
    """Returns the top-level fields that have to be written for an arm, as JSON.

    A longest answer of the caller is lowered to the arm's, and never raised.

    Args:
        body: the request, as it came.
        arm: what is asked for.
        api: the API of the request.
    """
    fields: dict[str, bytes] = {}
    for name, value in (parameters_of(arm, api) or {}).items():
        if not body.has(name):
            fields[name] = orjson.dumps(value)
            continue
        # A value that was too large to be read is the caller's own.
        there = body.text_of(name)
        wanted = merged(there, body.values.get(name, there), value)
        if wanted != there:
            fields[name] = wanted
    tokens = arm.max_output_tokens
    if tokens is None:
        return fields
    number = b"%d" % tokens
    own = {name: limit for name in LIMIT_FIELDS[api] if (limit := whole(body.values.get(name)))}
    for name, limit in own.items():
        if limit > tokens:
            fields[name] = number
    if not own:
        fields[LIMIT_FIELDS[api][0]] = number
    return fields


def merged(there: bytes, found: Any, value: Any) -> bytes:
    """Returns a JSON value with further fields; what it says already is never written over.

    Null says nothing. An object is merged into another, unless one of its fields differs there:
    then the other stays as it is. All other bytes stay as they are.

    Args:
        there: the value, as JSON without a key that stands twice.
        found: the same, as it was read.
        value: the value that is wanted; the names in it are in ASCII, without characters that JSON
            escapes.
    """
    if found is None:
        return orjson.dumps(value)
    if isinstance(found, dict) and isinstance(value, dict) and _agree(found, value):
        for name, inner in value.items():
            there = _with_field(there, found, name, inner)
    return there


def _with_field(there: bytes, found: Mapping[str, Any], name: str, value: Any) -> bytes:
    if name in found:
        start, end = next(places_of(there, name))
        inner = merged(there[start:end], found[name], value)
        return b"".join((there[:start], inner, there[end:]))
    end = there.rindex(b"}")
    comma = b"" if there[:end].rstrip(_SPACE).endswith(b"{") else b","
    return b'%s%s"%s":%s%s' % (there[:end], comma, name.encode(), orjson.dumps(value), there[end:])


def _agree(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Returns whether no field of ``wanted`` has another value in ``found``."""
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            if not _agree(there, value):
                return False
        elif there is not None and there != value:
            return False
    return True
