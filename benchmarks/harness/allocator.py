# SPDX-License-Identifier: Apache-2.0
"""What becomes of memory that is freed while a group is measured."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of glibc's <malloc.h>
_MIB = 1024 * 1024


def _set(options: dict[int, int]) -> None:
    """Other C libraries have no mallopt: there memory is treated as usual."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, value in options.items():
        if mallopt is not None:
            mallopt(option, value)


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """Large blocks that are freed stay with the process, for whoever allocates next. Otherwise
    the system takes some back, by what was freed before, and gives them out again page by page,
    at a microsecond a page or more: at times a tenth of what a pass takes."""
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1})
    try:
        yield
    finally:  # what glibc arrives at by itself in a process that frees large blocks
        _set({_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB})
