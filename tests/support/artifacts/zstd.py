"""Compression by zstd as peers send it: Python's own from 3.14 on, before that a package."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
