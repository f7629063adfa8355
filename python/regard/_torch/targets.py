# SPDX-License-Identifier: Apache-2.0
"""Which instruction set runs. REGARD_TARGET=avx2 (amx_bf16, avx512_bf16, avx512, avx2, sse4,
portable) forces one from outside."""

from . import ops_library as ops


def kernel_target() -> str:
    """The instruction set that the kernels really run with: the kernel is asked what it was
    compiled for."""
    return ops.kernel_target()


def set_target(name: str) -> None:
    """Forces one for all later calls of this process; "" goes back to the default choice."""
    ops.set_target(name)
