"""`attn_implementation="regard"` for Hugging Face transformers: import this module, then

    AutoModel.from_pretrained(..., attn_implementation="regard")

Keys and values of grouped heads are not repeated; causal, sliding-window, padding and packing
masks stay parameters; T5's position bias and gpt-oss's attention sinks get their gradients;
dropout in training follows torch's default generator. Paged caches (continuous batching) and
models that choose keys for each query (DeepSeek V3.2 and its kin) are refused by name.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from ._torch.attention import attention
from ._transformers_masks import CarriedMask, regard_mask
from .masks import causal, documents, tensor, window
from .modifiers import sinks

NAME = "regard"

# What models hand over beside query, key and value that would change the result, and is not served.
_REFUSED = {
    "cache": "paged caches (continuous batching)",
    "indices": "keys chosen for each query",
    "block_indices": "blocks of keys chosen for each query",
    "sinks": "sinks of a row's own",
}


def regard_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    dropout=0.0,
    is_causal=None,
    sliding_window=None,
    softcap=None,
    s_aux=None,
    position_bias=None,
    cu_seq_lens_q=None,
    cu_seq_lens_k=None,
    **kwargs,
):
    """The attention function of transformers' AttentionInterface: (batch, heads, seq, dim) in,
    ((batch, seq, heads, dim), None) out."""
    for name, what in _REFUSED.items():
        if kwargs.get(name) is not None:
            raise NotImplementedError(
                f'attn_implementation="regard": {what} ({name}) are not supported; use "eager" or'
                ' "sdpa"'
            )
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    modifiers = () if s_aux is None else (sinks(s_aux),)
    options = dict(scale=scaling, softcap=softcap or 0.0, dropout_p=dropout, modifiers=modifiers)
    if attention_mask is None and cu_seq_lens_q is not None:
        return (
            _packed(
                query,
                key,
                value,
                cu_seq_lens_q,
                cu_seq_lens_k,
                is_causal,
                sliding_window,
                position_bias,
                options,
            ),
            None,
        )
    len_q, len_k = query.shape[2], key.shape[2]
    mask, bias = _mask_and_bias(attention_mask, position_bias, len_k)
    if attention_mask is None:
        if is_causal and len_q > 1:
            mask = causal(0)
            if (
                len_k > len_q
            ):  # the first step of a static cache: what lies behind is not written yet
                key, value = key[:, :, :len_q], value[:, :, :len_q]
                bias = bias if bias is None or bias.shape[-1] == 1 else bias[..., :len_q]
        if sliding_window is not None and len_k > sliding_window:
            # That many keys in all, the query's own included. Without is_causal the window reaches
            # as far to the right.
            seen = window(sliding_window - 1, 0 if is_causal else sliding_window - 1)
            mask = seen if mask is None else mask & seen
    out = attention(query, key, value, mask=mask, bias=bias, **options)
    return out.transpose(1, 2).contiguous(), None


def _mask_and_bias(attention_mask, position_bias, len_k):
    if isinstance(attention_mask, CarriedMask):
        if attention_mask.shape[-1] != len_k:
            raise ValueError(
                f"attention_mask: made for {attention_mask.shape[-1]} keys; expected {len_k}, as"
                " key has"
            )
        return attention_mask.mask, position_bias
    if attention_mask is None:
        return None, position_bias
    if attention_mask.dtype is torch.bool:
        return tensor(attention_mask), position_bias
    return None, attention_mask if position_bias is None else position_bias + attention_mask


def _packed(query, key, value, cu_q, cu_k, is_causal, sliding_window, position_bias, options):
    """Several sequences in one row (packed training); the rows of a batch follow each other."""
    mask = documents(cu_q, cu_k)
    if is_causal:
        mask = causal() & mask
    if sliding_window is not None:
        mask = window(sliding_window - 1, 0 if is_causal else sliding_window - 1) & mask
    rows = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    return attention(*rows, mask=mask, bias=position_bias, layout="thd", **options).unflatten(
        0, (query.shape[0], -1)
    )


AttentionInterface.register(NAME, regard_attention)
AttentionMaskInterface.register(NAME, regard_mask)
