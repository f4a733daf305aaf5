"""The ``routoo`` command with a predictor and an engine whose errors quote the prompts.

Prompts with ``explode`` fail in the predictor and in a thread. Prompts with ``unawaited`` fail in
the engine and in a task that is not awaited, and a library logs them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from typing import TYPE_CHECKING

from routoo.cli.app import main
from routoo.engine.engine import Engine
from routoo.predictor.onnx import OnnxPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.base import Prediction, Wait
    from routoo.routing.request import PromptRequest

predict = OnnxPredictor.predict
check = Engine._check


def leaky(self: OnnxPredictor, prompts: Sequence[str], *wait: Wait | None) -> Prediction:
    """Predicts as the real predictor, unless a prompt has "explode"."""
    said = [prompt for prompt in prompts if "explode" in prompt]
    if not said:
        return predict(self, prompts, *wait)
    try:
        _fail(said[0])
    except KeyError as error:
        thread = threading.Thread(target=_fail, args=(said[0],), name="broken")
        thread.start()
        thread.join()
        raise ValueError(f"cannot read {said}") from error


def leaky_check(self: Engine, request: PromptRequest) -> None:
    """Checks as the real engine, on the event loop, unless the prompt has "unawaited"."""
    check(self, request)
    if "unawaited" in request.text:

        async def ended() -> None:
            _fail(request.text)

        task = asyncio.get_running_loop().create_task(ended())
        task.add_done_callback(lambda _: asyncio.get_running_loop().call_soon(gc.collect))
        logging.getLogger("some.library").error("refused %s", request.text)
        raise RuntimeError(request.text)


def _fail(text: str) -> None:
    raise KeyError(text)


if __name__ == "__main__":
    OnnxPredictor.predict = leaky  # type: ignore[method-assign]
    Engine._check = leaky_check  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
