"""The predictor in Triton's Python backend: the version folder's graph through onnxruntime.

``routoo-export repository --backend python`` copies this file as it is to ``model.py`` beside the
graph. It needs only the files of that folder, onnxruntime and numpy.
"""

import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# Before the library is loaded, or it reports its use and keeps an identifier of the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

INPUT = "input_ids"
pb_utils: Any = import_module("triton_python_backend_utils")


class TritonPythonModel:
    """One instance of the model, as Triton calls it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph of the version that is being loaded."""
        folder = Path(args["model_repository"]) / args["model_version"]
        config = json.loads(args["model_config"])
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        parameters = config.get("parameters", {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_thread_count"]["string_value"])
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin would occupy the cores of the other instances.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        if args["model_instance_kind"] == "GPU":
            device = {"device_id": args["model_instance_device_id"]}
            providers.insert(0, ("CUDAExecutionProvider", device))
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=providers
        )
        self.outputs = [output["name"] for output in config["output"]]
        self.rows_step = int(manifest.get("rows_step", 4))
        self.inputs = {
            tensor["name"]: [int(size) for size in tensor["dims"]] for tensor in config["input"]
        }
        # A graph that is given its models' rows has inputs without a row for each prompt.
        self.batched = int(config.get("max_batch_size", 0)) > 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; requests of the same length run together."""
        if not self.batched:
            return [self.answer(one) for one in requests]
        ids = [pb_utils.get_input_tensor_by_name(one, INPUT).as_numpy() for one in requests]
        responses: list[Any] = [None] * len(requests)
        of_length: dict[int, list[int]] = {}
        for position, array in enumerate(ids):
            of_length.setdefault(array.shape[1], []).append(position)
        for positions in of_length.values():
            rows = [len(ids[position]) for position in positions]
            try:
                found = self.infer(np.concatenate([ids[position] for position in positions]))
            except Exception as error:  # noqa: BLE001 - each waiting request has to be answered
                failure = pb_utils.TritonError(f"inference failed: {error}")
                for position in positions:
                    responses[position] = pb_utils.InferenceResponse([], failure)
                continue
            ends = np.cumsum(rows)[:-1]
            parts = zip(*(np.split(values, ends) for values in found), strict=True)
            for position, values in zip(positions, parts, strict=True):
                responses[position] = pb_utils.InferenceResponse(
                    [
                        # Triton has no outputs without a dimension beside the batch.
                        pb_utils.Tensor(name, value.reshape(len(value), -1))
                        for name, value in zip(self.outputs, values, strict=True)
                    ]
                )
        return responses

    def answer(self, request: Any) -> Any:
        """The response to one request, whose inputs are those of the graph."""
        feed = {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in self.inputs
        }
        try:
            self.check(feed)
            found = self.session.run(self.outputs, feed)
        except Exception as error:  # noqa: BLE001 - each waiting request has to be answered
            return pb_utils.InferenceResponse(
                [], pb_utils.TritonError(f"inference failed: {error}")
            )
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, value) for name, value in zip(self.outputs, found, strict=True)]
        )

    def check(self, feed: dict[str, np.ndarray]) -> None:
        """Refuse inputs of other shapes than the config's, which a graph may stretch to its own."""
        for name, values in feed.items():
            sizes = self.inputs[name]
            if len(sizes) != values.ndim or any(
                wanted not in (-1, size) for wanted, size in zip(sizes, values.shape, strict=True)
            ):
                raise ValueError(f"{name} has the shape {list(values.shape)}, not {sizes}")

    def infer(self, input_ids: np.ndarray) -> list[np.ndarray]:
        """The outputs, with one row for each row of ``input_ids``."""
        rows, length = input_ids.shape
        padded = np.resize(input_ids, (rows + -rows % self.rows_step, length))
        found = self.session.run(self.outputs, {INPUT: padded})
        return [values[:rows] for values in found]
