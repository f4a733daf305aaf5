"""Requests from the bytes of their bodies to the bytes that their models get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.api.aside import LARGE_BYTES
from routoo.api.llm.bodies.arm_fields import changes_for
from routoo.api.llm.bodies.edits import changed
from routoo.api.llm.bodies.request_body import read_body
from routoo.api.llm.named_models import EVERY_NAME
from routoo.api.llm.refusal import Refusal, unreadable
from routoo.errors import UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.aside import Aside
    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.api.llm.router import Head, Routed, Router
    from routoo.api.security.gate import Admission
    from routoo.config.processor import ProcessorSettings
    from routoo.routing.decision import FallbackArm


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that goes on to the model that was found for it.

    Attributes:
        head: the request's headers.
        body: its body, as it came.
        found: the model and the decision.
    """

    head: Head
    body: RequestBody
    found: Routed

    @property
    def streams(self) -> bool:
        """Whether the reply is to be streamed, so that it begins long before it is complete."""
        return self.body.values.get("stream") is True

    def rewritten(self, settings: ProcessorSettings) -> bytes:
        """Returns the body for the model: with its name, its arm's fields, and a longest answer."""
        return changed(self.body.data, self.changes(settings))

    def changes(self, settings: ProcessorSettings) -> dict[tuple[int, int], bytes]:
        """Returns the changes of the body for the model, see ``RequestBody.changes``."""
        found = self.found
        longest = None
        if settings.cap_answers and found.decision is not None:
            longest = found.decision.max_output_tokens
        model = None if found.is_named else found.model
        return changes_for(self.body, self.head.api, model, found.arm, longest)

    def changes_for(
        self, fallback: FallbackArm, settings: ProcessorSettings
    ) -> dict[tuple[int, int], bytes]:
        """Returns the changes of the body, as it came, for a fallback instead of the model."""
        longest = fallback.max_output_tokens if settings.cap_answers else None
        return changes_for(self.body, self.head.api, fallback.model, fallback.arm, longest)


async def decided(
    router: Router,
    aside: Aside,
    head: Head,
    data: bytes,
    settings: ProcessorSettings,
    admit: Callable[[], Admission],
) -> Accepted | Refusal | None:
    """Reads a body and decides the request; None: it goes on as it came.

    Args:
        router: decides.
        aside: reads large bodies.
        head: the request's headers.
        data: the body.
        settings: of the processor.
        admit: lets the sender in, or raises.
    """
    passes = settings.named_models == "pass"
    names = settings.route_names if passes else EVERY_NAME
    try:
        if len(data) > LARGE_BYTES:
            body = await aside.run(read_body, data, names)
        else:
            body = read_body(data, names)
    except UnreadableBodyError as error:
        if settings.on_unreadable == "pass" and not error.may_be_routed:
            return None
        return unreadable(400, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
        return router.refused(error)
    named = "" if passes else router.named(body, settings)
    if isinstance(named, Refusal):
        return named
    if body is None:
        return None
    found = await router.route(
        head,
        body.values,
        admit,
        counted=body.counted,
        size_bytes=len(data),
        named=named,
    )
    return found if isinstance(found, Refusal) else Accepted(head, body, found)
