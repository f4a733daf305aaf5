"""A predictor that a file beside it controls; tests append it to the repository's ``model.py``.

The file ``mood`` holds one word: good, nan, short (scores lack a column), fail, or held (writes to
the FIFO ``held``, waits until the request is cancelled, and writes to the FIFO ``cancelled``).
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Quiet: type[Any] = TritonPythonModel


class TritonPythonModel(Quiet):  # type: ignore[no-redef]
    """The model as Triton calls it, changed by ``mood``."""

    def initialize(self, args: dict[str, str]) -> None:
        self.folder = Path(args["model_repository"]) / args["model_version"]
        super().initialize(args)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        file = self.folder / "mood"
        mood = file.read_text() if file.exists() else "good"
        if mood == "held":
            (self.folder / "held").write_text("held")
            while not all(request.is_cancelled() for request in requests):
                time.sleep(0.002)
            (self.folder / "cancelled").write_text("cancelled")
        if mood == "fail":
            raise RuntimeError("in a bad mood")
        responses: list[Any] = super().execute(requests)
        return [_spoilt(one, mood) for one in responses] if mood in {"nan", "short"} else responses


def _spoilt(response: Any, mood: str) -> Any:
    tensors = []
    for tensor in response.output_tensors():
        values = tensor.as_numpy().copy()
        if tensor.name() == "scores":
            values = values[:, :-1].copy() if mood == "short" else values * np.nan
        tensors.append(pb_utils.Tensor(tensor.name(), values))
    return pb_utils.InferenceResponse(tensors)
