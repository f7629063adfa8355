# SPDX-License-Identifier: Apache-2.0
"""flash-attention 2's functions on a CPU: the same names, parameters, order, defaults and results.

    from regard.flash_attn import flash_attn_func              # an import changed
    out = flash_attn_func(q, k, v, causal=True)                # (batch, seqlen, heads, dim)

    regard.flash_attn.install()                                # or none: `import flash_attn` works,
                                                               # transformers' flash_attention_2 too

float32 and float64 are served as well as float16 and bfloat16, and head dims up to 512. What
differs from the original is said in docs/flash_attn.md.
"""

from ._install import VERSION, install, uninstall
from .dense import flash_attn_func, flash_attn_kvpacked_func, flash_attn_qkvpacked_func
from .kvcache import flash_attn_with_kvcache
from .varlen import (
    flash_attn_varlen_func,
    flash_attn_varlen_kvpacked_func,
    flash_attn_varlen_qkvpacked_func,
)

__version__ = VERSION  # of the functions that are offered

__all__ = [
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_attn_with_kvcache",
    "install",
    "uninstall",
]
