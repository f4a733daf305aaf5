"""The device and the precision of a transformer."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch

from routoo_export.errors import ExportError

Device = Literal["auto", "cpu", "cuda"]

_CPU_INFO: Final = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS: Final = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Compute:
    """The device and the precision of a computation.

    Attributes:
        device: Device of torch.
        bfloat16: Multiply in bfloat16 where autocast allows; sums stay in float32.
    """

    device: str = "cpu"
    bfloat16: bool = False

    def precision(self) -> AbstractContextManager[object]:
        """The context for a forward pass in this precision."""
        return torch.autocast(self.device, torch.bfloat16) if self.bfloat16 else nullcontext()


def choose_compute(device: Device = "auto") -> Compute:
    """Choose the device asked for, with bfloat16 where it is supported ("auto": CUDA if any).

    Raises:
        ExportError: CUDA was asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise ExportError("this machine has no CUDA device for torch; use --device cpu")
    if cuda and device != "cpu":
        return Compute("cuda", bfloat16=torch.cuda.is_bf16_supported())
    return Compute("cpu", bfloat16=_cpu_has_bfloat16())


def _cpu_has_bfloat16() -> bool:
    try:
        flags = _CPU_INFO.read_text(encoding="utf-8").split()
    except OSError:  # no Linux
        return False
    return any(flag in flags for flag in _BFLOAT16_FLAGS)
