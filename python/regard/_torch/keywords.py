# SPDX-License-Identifier: Apache-2.0
"""Arguments that other attention libraries have and regard.attention has not, under the names that
people know them by: the error says what to write instead."""

import difflib
import inspect

_CAUSAL = "mask=regard.causal() (bottom-right aligned; regard.causal(0) is top-left aligned)"
_BOOLEANS = "mask= for booleans, True where attended; bias= for what is added to the scores"
_PADDING = "mask=regard.key_lengths(lengths), or mask=keep[:, None, None, :] for booleans of a key"
_WINDOW = "mask=regard.window(left, right), with & regard.causal() for a decoder"
_WEIGHTS = "regard.attention_map(query, key, rows=..., cols=...), which gives exact weights"
_LSE = "return_lse=True"
_PACKED = 'layout="thd" with mask=regard.documents(cu_q, cu_k)'
_SCALE = "scale="
_DROPOUT = "dropout_p="
_NOTHING = "nothing: results are the same bits from run to run"

_INSTEAD = {
    "causal": _CAUSAL,
    "use_causal_mask": _CAUSAL,
    "is_causal": "mask=regard.causal(0), top-left aligned as PyTorch's is_causal; regard.causal()"
    " lets the last query see the last key",
    "attn_mask": _BOOLEANS,
    "attention_mask": _BOOLEANS,
    "block_mask": "mask=regard.blocks(layout, block_size), or another mask of regard's",
    "key_padding_mask": _PADDING,
    "padding_mask": _PADDING,
    "dropout": _DROPOUT,
    "dropout_rate": _DROPOUT,
    "window_size": _WINDOW,
    "window": _WINDOW,
    "local_window_size": _WINDOW,
    "sliding_window": "mask=regard.causal() & regard.window(sliding_window - 1, 0), which counts"
    " the query's own key",
    "enable_gqa": "nothing: query's heads may be any multiple of key's and value's",
    "return_weights": _WEIGHTS,
    "need_weights": _WEIGHTS,
    "output_attentions": _WEIGHTS,
    "return_attn_probs": _WEIGHTS,
    "return_softmax_lse": _LSE,
    "return_logsumexp": _LSE,
    "softmax_scale": _SCALE,
    "scaling": _SCALE,
    "sm_scale": _SCALE,
    "soft_cap": "softcap=",
    "logits_soft_cap": "softcap=",
    "attn_bias": "bias=",
    "position_bias": "bias=, or modifiers=regard.t5_bias(table, len_q, len_k)",
    "alibi_slopes": "modifiers=regard.alibi(slopes)",
    "temperature": "modifiers=regard.temperature(t)",
    "sinks": "modifiers=regard.sinks(logits)",
    "s_aux": "modifiers=regard.sinks(logits)",
    "score_mod": "modifiers=, a tuple of values such as regard.alibi(slopes)",
    "modifier": "modifiers=",
    "generator": "seed=",
    "deterministic": _NOTHING,
    "cu_seqlens": _PACKED,
    "cu_seqlens_q": _PACKED,
    "cu_seqlens_k": _PACKED,
    "offset": "mask=regard.causal(offset)",
}


_NAMES = (
    "mask",
    "score",
    "modifiers",
    "scale",
    "softcap",
    "bias",
    "dropout_p",
    "seed",
    "layout",
    "plan",
    "part",
    "return_lse",
)


def refuse_misplaced(arguments):
    """Raises the TypeError for arguments by position behind query, key and value."""
    if arguments:
        what = type(arguments[0]).__name__
        name = {"Mask": "mask", "Plan": "plan", "Part": "part"}.get(what, "name")
        raise TypeError(
            f"an argument by position after query, key and value, {what}; write {name}=..., with"
            f" one of {', '.join(_NAMES)}"
        )


def refuse_unknown(names):
    """Raises the TypeError for names that regard.attention does not know."""
    for name in names:
        near = difflib.get_close_matches(name, _NAMES, 1)
        instead = _INSTEAD.get(name) or (f"{near[0]}=" if near else None)
        if instead is not None:
            raise TypeError(f"{name}: no such option; write {instead}")
    if names:
        raise TypeError(
            f"{', '.join(names)}: no such option; expected those of regard.attention:"
            f" {', '.join(_NAMES)}"
        )


def plain_signature(function):
    """Decorates a function that takes anything in order to refuse it with a reason: what help()
    and editors show are the arguments that it serves."""
    signature = inspect.signature(function)
    anything = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    served = [p for p in signature.parameters.values() if p.kind not in anything]
    function.__signature__ = signature.replace(parameters=served)
    return function
