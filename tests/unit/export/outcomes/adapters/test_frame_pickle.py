"""Pickled frames are read; other calls in a pickle are not run."""

from __future__ import annotations

import os
import pickle
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.formats import ADAPTERS
from routoo_export.outcomes.adapters.frame_pickle import read_frame
from routoo_export.outcomes.bad_rows import BadRows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAME = pd.DataFrame(
    {
        "sample_id": ["a", "b"],
        "prompt": ["['one?']", "['two?']"],
        "eval_name": ["mbpp", "mbpp"],
        "gpt": [1.0, None],
        "gpt|model_response": ["yes", None],
        "gpt|total_cost": [0.1, None],
        "llama": [True, False],
        "llama|total_cost": [1, 2],
    }
)


class Call:
    """An object that pickles as a call, as an attacker would write it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["str", "object", "string", "string[python]", "category"])
def test_frames_are_read_as_they_were(tmp_path: Path, protocol: int, text: str) -> None:
    frame = FRAME.astype({"prompt": text, "eval_name": text}).set_index("sample_id", drop=False)
    path = tmp_path / "frame.pkl"
    frame.to_pickle(path, protocol=protocol)
    pd.testing.assert_frame_equal(read_frame(path), frame)


def test_numpy_scalars_nullable_numbers_and_lists_in_cells(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "scalars": np.array([np.float64(0.5), "text"], dtype=object),
            "turns": [["one?"], ["two?", "three?"]],
            "whole": pd.array([1, None], dtype="Int64"),
            "truth": pd.array([True, None], dtype="boolean"),
        }
    )
    frame.to_pickle(tmp_path / "frame.pkl")
    pd.testing.assert_frame_equal(read_frame(tmp_path / "frame.pkl"), frame)


def test_the_names_of_older_versions_are_known(tmp_path: Path) -> None:
    # Protocol 2 writes names as text, so they can be replaced by those of numpy 1 and pandas 1.
    old = pickle.dumps(FRAME.astype(object), protocol=2)
    for new_name, old_name in (
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
        (b"cpandas\nDataFrame\n", b"cpandas.core.frame\nDataFrame\n"),
        (b"cpandas\nRangeIndex\n", b"cpandas.core.indexes.range\nRangeIndex\n"),
        (
            b"cpandas._libs.internals\n_unpickle_block\n",
            b"cpandas.core.internals.blocks\nnew_block\n",
        ),
    ):
        assert new_name in old
        old = old.replace(new_name, old_name)
    path = tmp_path / "old.pkl"
    path.write_bytes(old)
    pd.testing.assert_frame_equal(read_frame(path), FRAME.astype(object))


def evil_payloads(marker: Path) -> dict[str, Any]:
    command = f"touch {marker}"
    return {
        "os.system": Call(os.system, command),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "eval": Call(eval, f"__import__('os').system({command!r})"),
        "getattr": Call(getattr, marker, "touch"),
        "read_pickle": Call(pd.read_pickle, marker),
        "numpy.load": Call(np.load, str(marker)),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", list(evil_payloads(marker=None)))  # type: ignore[arg-type]
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, protocol: int, name: str
) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(evil_payloads(marker)[name], protocol=protocol))
    with pytest.raises(OutcomeError) as caught:
        ADAPTERS["routerbench"]([str(path)], BadRows(skip=True))
    assert "was not run" in str(caught.value)
    assert not marker.exists()


def test_a_malicious_cell_in_an_honest_frame_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    frame = FRAME.astype(object)
    frame["prompt"] = [Call(os.system, f"touch {marker}"), "two?"]
    frame.to_pickle(tmp_path / "evil.pkl")
    with pytest.raises(OutcomeError, match=r"posix.system|nt.system"):
        read_frame(tmp_path / "evil.pkl")
    assert not marker.exists()


def test_dotted_names_do_not_lead_out_of_an_admitted_module(tmp_path: Path) -> None:
    name = b"DataFrame.to_pickle"
    stack_global = b"\x80\x04\x8c\x06pandas\x8c" + bytes([len(name)]) + name + b"\x93."
    path = tmp_path / "evil.pkl"
    path.write_bytes(stack_global)
    with pytest.raises(OutcomeError, match=r"pandas.DataFrame.to_pickle"):
        read_frame(path)


def test_cells_cannot_be_made_into_pointers(tmp_path: Path) -> None:
    honest = pickle.dumps(FRAME.astype(object)["gpt"].to_numpy(), protocol=2)
    flags = b"K?t"
    assert np.dtype(object).flags == ord("?")
    assert honest.count(flags) == 1
    path = tmp_path / "evil.pkl"
    path.write_bytes(honest.replace(flags, b"K\x00t"))
    with pytest.raises(OutcomeError, match="flags were changed"):
        read_frame(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a pickled frame"),
        (b"PK no pickle", "not a pickled frame"),
        (pickle.dumps(FRAME)[:-40], "not a pickled frame"),
        (pickle.dumps([1, 2]), "holds a list, not a pandas frame"),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(OutcomeError, match=message):
        read_frame(path)


def test_routerbench_from_a_pickle(tmp_path: Path) -> None:
    FRAME.to_pickle(tmp_path / "routerbench_0shot.pkl")
    grid = ADAPTERS["routerbench"]([str(tmp_path / "routerbench_0shot.pkl")], BadRows())
    nan = float("nan")
    assert grid.models == ("gpt", "llama")
    assert grid.prompts == ("one?", "two?")
    np.testing.assert_array_equal(grid.scores, [[1, 1], [nan, 0]])
    np.testing.assert_array_equal(grid.cost_usd, [[0.1, 1], [nan, 2]])
