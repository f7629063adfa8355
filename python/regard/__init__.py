# SPDX-License-Identifier: Apache-2.0
"""Regard: exact fused attention on a CPU, forward and backward, in linear memory.

out = regard.attention(q, k, v, mask=regard.causal() & regard.window(4096, 0), softcap=30.0)
regard.enable()               # every F.scaled_dot_product_attention on CPU tensors runs here
import regard.transformers    # attn_implementation="regard"
"""

from . import flash_attn, nn
from ._torch import fast_path, jagged, ops_library, public_op, state_ops  # noqa: F401  (they register)
from ._torch.attention import attention
from ._torch.enable import report
from ._torch.map import (
    attention_entropy,
    attention_map,
    attention_picture,
    attention_received,
    attention_rollout,
    attention_top,
)
from ._torch.part import Part, part
from ._torch.plan import Plan, plan
from ._torch.record import options_text
from ._torch.switch import disable, enable, enabled
from ._torch.targets import kernel_target, set_target
from .cache import CacheFull, KVCache, PagedCache
from .luong import luong_concat, luong_general, luong_location
from .masks import (
    Mask,
    around,
    bigbird,
    blocks,
    causal,
    dilated,
    documents,
    global_tokens,
    key_lengths,
    prefix,
    tensor,
    tree,
    window,
)
from .modifiers import (
    Modifier,
    alibi,
    alibi_slopes,
    function,
    gaussian,
    multiplier,
    relative_bias,
    sinks,
    swin_bias,
    t5_bias,
    temperature,
)
from .score import PreparedKeys, Score, additive, prepare_keys
from .states import State, attention_state, finish, merge

__all__ = [
    "CacheFull",
    "KVCache",
    "Mask",
    "Modifier",
    "PagedCache",
    "Part",
    "Plan",
    "PreparedKeys",
    "Score",
    "State",
    "additive",
    "alibi",
    "alibi_slopes",
    "around",
    "attention",
    "attention_entropy",
    "attention_map",
    "attention_picture",
    "attention_received",
    "attention_rollout",
    "attention_state",
    "attention_top",
    "bigbird",
    "blocks",
    "causal",
    "dilated",
    "disable",
    "documents",
    "enable",
    "enabled",
    "finish",
    "flash_attn",
    "function",
    "gaussian",
    "global_tokens",
    "kernel_target",
    "key_lengths",
    "luong_concat",
    "luong_general",
    "luong_location",
    "merge",
    "multiplier",
    "nn",
    "options_text",
    "part",
    "plan",
    "prefix",
    "prepare_keys",
    "relative_bias",
    "report",
    "set_target",
    "sinks",
    "swin_bias",
    "t5_bias",
    "temperature",
    "tensor",
    "tree",
    "window",
]
