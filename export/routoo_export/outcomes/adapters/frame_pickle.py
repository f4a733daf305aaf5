"""Reading a pickled pandas frame without running any other code that a pickle may name.

A pickle is a program: unpickling calls the functions that it names. This unpickler admits only the
names listed here, which rebuild frames of text, numbers and booleans (pandas, numpy, and the
pyarrow arrays in which pandas keeps text). Any other name stops the reading before it is imported.
Frames of older versions are read as far as pandas itself reads them (pandas.compat.pickle_compat).
"""

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pandas import DataFrame
from pandas.compat.pickle_compat import Unpickler

from routoo_export.errors import OutcomeError

_ADMITTED: Final[dict[str, frozenset[str]]] = {
    module: frozenset(names.split())
    for module, names in {
        "builtins": "slice bytearray",
        "__builtin__": "slice bytearray",
        "_codecs": "encode",
        "numpy": "ndarray dtype",
        "numpy.core.multiarray": "_reconstruct scalar",
        "numpy._core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "pandas": "DataFrame Index RangeIndex MultiIndex Categorical CategoricalDtype StringDtype"
        " BooleanDtype Int8Dtype Int16Dtype Int32Dtype Int64Dtype Float32Dtype Float64Dtype NA",
        "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
        "pandas._libs.internals": "_unpickle_block",
        "pandas._libs.missing": "NA",
        "pandas.arrays": "ArrowStringArray BooleanArray FloatingArray IntegerArray StringArray",
        "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
        "pandas.core.arrays.categorical": "Categorical",
        "pandas.core.arrays.floating": "FloatingArray Float32Dtype Float64Dtype",
        "pandas.core.arrays.integer": "IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype",
        "pandas.core.arrays.string_": "StringArray StringDtype",
        "pandas.core.arrays.string_arrow": "ArrowStringArray",
        "pandas.core.dtypes.dtypes": "CategoricalDtype",
        "pandas.core.frame": "DataFrame",
        "pandas.core.indexes.base": "Index _new_Index",
        "pandas.core.indexes.multi": "MultiIndex",
        "pandas.core.indexes.numeric": "Int64Index UInt64Index Float64Index",
        "pandas.core.indexes.range": "RangeIndex",
        "pandas.core.internals.blocks": "new_block",
        "pandas.core.internals.managers": "BlockManager",
        "pyarrow.lib": "_restore_array py_buffer type_for_alias",
    }.items()
}
# The eighth entry of a dtype's state says, among others, if its cells point to Python objects.
_DTYPE_FLAGS: Final = 7
_UNREADABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    pickle.PickleError,
    pa.ArrowException,
)


def read_frame(path: Path) -> DataFrame:
    """Read the frame in a pickle file.

    Raises:
        OutcomeError: the pickle names something that is not admitted (which was not run), cannot
            be read, or holds something other than a frame.
    """
    try:
        with path.open("rb") as stream:
            value = _FrameUnpickler(stream).load()
    except _UNREADABLE as error:
        raise OutcomeError(
            f"{path}: not a pickled frame that pandas reads here ({error}); save it as csv"
        ) from error
    if not isinstance(value, DataFrame):
        raise OutcomeError(f"{path}: holds a {type(value).__name__}, not a pandas frame")
    return value


class _FrameUnpickler(Unpickler):  # type: ignore[misc]
    dispatch = Unpickler.dispatch.copy()

    def find_class(self, module: str, name: str) -> Any:
        if name not in _ADMITTED.get(module, ()):
            raise OutcomeError(
                f"this pickle names {module}.{name}, which no frame of text and numbers needs;"
                " it was not run: do not trust the file, or save the frame as csv"
            )
        if module == "_codecs":
            return _latin1
        if name == "_restore_array":
            return _restore_array
        return super().find_class(module, name)

    def load_build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if isinstance(target, np.dtype) and tuple(state[_DTYPE_FLAGS:])[:1] != (target.flags,):
            raise pickle.UnpicklingError("a dtype's flags were changed")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _latin1(text: str, encoding: str) -> bytes:
    """Encode bytes that pickle protocol 2 wrote as text; other codecs are not needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _restore_array(data: Any) -> pa.Array:
    """Restore an arrow array, and check that its offsets lie inside its buffers."""
    array = pa.lib._restore_array(data)  # noqa: SLF001 - what pyarrow pickles arrays with
    array.validate(full=True)
    return array
