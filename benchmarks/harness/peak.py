# SPDX-License-Identifier: Apache-2.0
"""The processor's peak, measured beside every timing (see benchmarks/peak/peak.cc)."""

import ctypes
import time

from harness.paths import built

_SECONDS = 0.003
# PyTorch's threads spin for a few milliseconds after a parallel region; a peak on several threads
# waits for them to sleep.
_SETTLE = 0.004

# The instruction that a target's float32 kernels multiply with, and that of bfloat16, where it is
# another.
_FMA = {
    "amx_bf16": b"avx512",
    "avx512_bf16": b"avx512",
    "avx512": b"avx512",
    "avx2": b"avx2",
    "sse4": b"sse4",
    "portable": b"sse4",
}
_BF16 = {"amx_bf16": b"amx", "avx512_bf16": b"bf16"}


class Peak:
    """Operations a second of register-only multiply-adds on so many threads."""

    def __init__(self, target: str):
        self._library = ctypes.CDLL(str(built("libregard_peak.so")))
        self._library.regard_peak.restype = ctypes.c_double
        self._library.regard_peak.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_double]
        self._instruction = {"fma": _FMA[target], "bf16": _BF16.get(target, _FMA[target])}
        self.has_bf16 = target in _BF16
        self.has_matrix_unit = target == "amx_bf16"
        self.has_avx512 = self._library.regard_peak(b"avx512", 1, _SECONDS) > 0

    def measure(self, kind: str, threads: int, seconds: float = _SECONDS) -> float:
        """`kind` is "fma", or "bf16": the matrix unit or bf16 dot product where the target has
        one, else the float32 multiply-add."""
        if threads > 1:
            time.sleep(_SETTLE)
        return self._library.regard_peak(self._instruction[kind], threads, seconds)
