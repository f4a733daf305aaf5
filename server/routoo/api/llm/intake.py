"""Requests from the bytes of their bodies to the bytes that their models get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from routoo.api.aside import LARGE_BYTES
from routoo.api.llm.bodies.arm_fields import changes_for
from routoo.api.llm.bodies.edits import changed
from routoo.api.llm.bodies.request_body import may_name, read_body, read_head
from routoo.api.llm.content_coding import decoded
from routoo.api.llm.named_models import EVERY_NAME
from routoo.api.llm.refusal import Refusal, too_large, unreadable
from routoo.api.llm.router import Routed, told_of
from routoo.errors import TooLargeError, UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from routoo.api.aside import Aside
    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.api.llm.router import Head, Router
    from routoo.api.security.gate import Admission
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.routing.decision import FallbackArm


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that goes on to the model that was found for it.

    Attributes:
        head: the request's headers.
        body: its body, as it came.
        found: the model and the decision.
        longest: the longest answer in tokens that keeps the request's limits; None: no limit.
    """

    head: Head
    body: RequestBody
    found: Routed
    longest: int | None = None

    def instead(self) -> Iterator[Accepted]:
        """Yields the request for each fallback of its decision, the best first."""
        decision = self.found.decision
        if decision is None or self.found.is_named:
            return
        for one in decision.fallbacks():
            found = Routed(one.model, one.arm, told_of(one, decision.decision_id), decision)
            yield replace(self, found=found, longest=one.max_output_tokens)

    @property
    def streams(self) -> bool:
        """Whether the reply is to be streamed, so that it begins long before it is complete."""
        return self.body.values.get("stream") is True

    def rewritten(self, settings: ProcessorSettings, name: str | None = None) -> bytes:
        """Returns the body for the model: with its name, its arm's fields, and a longest answer.

        Args:
            settings: of the processor.
            name: the model's name at its provider; None: the pool's, or the caller's own.
        """
        return changed(self.body.came, self.changes(settings, name))

    def changes(
        self, settings: ProcessorSettings, name: str | None = None
    ) -> dict[tuple[int, int], bytes]:
        """Returns the changes of the body for the model, see ``RequestBody.changes``."""
        found = self.found
        longest = self.longest if settings.cap_answers else None
        if name is None and not found.is_named:
            name = found.model
        return changes_for(self.body, self.head.api, name, found.arm, longest)

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
    hold: Callable[[int], None] = lambda _size_bytes: None,
    offered: tuple[str, ...] | None = None,
) -> Accepted | Refusal | None:
    """Reads a body and decides the request; None: it goes on as it came.

    A request that names its model, and may pass, is accepted without a decision where the caller
    of this function sends it on.

    Args:
        router: decides.
        aside: reads large bodies.
        head: the request's headers.
        data: the body.
        settings: of the processor.
        admit: lets the sender in, or raises.
        hold: reserves the memory of a body of a length in bytes, or raises.
        offered: the models and arms that the caller of this function sends requests to, empty: all
            of the pool; None: somebody else sends them, to the models that the settings name.
    """
    passes = settings.named_models == "pass" and offered is None
    names = settings.route_names if passes else EVERY_NAME
    body = await _read(router, aside, head, data, settings, names, hold)
    if isinstance(body, Refusal):
        return body
    named = "" if passes else router.named(body, settings)
    if body is None or isinstance(named, Refusal):
        return named if isinstance(named, Refusal) else None
    if named and settings.named_models == "pass":
        return Accepted(head, body, Routed(named, None, (), None, is_named=True))
    if body.cut_in_image:  # whose first bytes tell what it costs
        head = replace(head, unseen_bytes=0)
    found = await router.route(
        head,
        body.values,
        admit,
        counted=body.counted,
        size_bytes=len(body.data),
        named=named,
        offered=offered,
    )
    if isinstance(found, Refusal):
        return found
    decision = found.decision
    longest = None if decision is None else decision.max_output_tokens
    return Accepted(head, body, found, longest)


async def _read(
    router: Router,
    aside: Aside,
    head: Head,
    data: bytes,
    settings: ProcessorSettings,
    names: Collection[str],
    hold: Callable[[int], None],
) -> RequestBody | Refusal | None:
    """Reads a body; None: it is none that is to be routed, or none that can be read and may pass.

    The arguments are those of ``decided``; ``names`` are the values of ``model`` that are routed.
    """
    try:
        if head.codings:
            data = await aside.run(_decoded, data, head.codings, settings.max_body_bytes, names)
            hold(len(data))
        read = read_body if head.unseen_bytes is None else read_head
        return await aside.run(read, data, names) if len(data) > LARGE_BYTES else read(data, names)
    except UnreadableBodyError as error:
        if settings.on_unreadable == "pass" and not error.may_be_routed:
            return None
        return unreadable(400, str(error))
    except TooLargeError as error:
        return None if settings.on_too_large == "pass" else too_large(settings, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
        return router.refused(error)


def _decoded(data: bytes, codings: Sequence[str], most_bytes: int, names: Collection[str]) -> bytes:
    """Decodes a body; of one that is something else, tells whether it may be routed as it is."""
    try:
        return decoded(data, codings, most_bytes)
    except UnreadableBodyError as error:
        error.may_be_routed = may_name(data, names)
        raise
