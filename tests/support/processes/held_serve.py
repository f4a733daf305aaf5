"""The ``routoo`` command with a predictor that prompts control: "hold" makes it wait, "fail" fail.

It prints ``held`` when it waits, and goes on after a line, or the end, of stdin.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from routoo.cli.app import main
from routoo.predictor.onnx import OnnxPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.predictor.base import Prediction, Wait

predict = OnnxPredictor.predict


def held(self: OnnxPredictor, prompts: Sequence[str], *wait: Wait | None) -> Prediction:
    """Predicts as the real predictor, unless a prompt says "hold" or "fail"."""
    if any("fail" in prompt for prompt in prompts):
        raise ValueError("the detail")
    if any("hold" in prompt for prompt in prompts):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.readline()
    return predict(self, prompts, *wait)


if __name__ == "__main__":
    OnnxPredictor.predict = held  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
