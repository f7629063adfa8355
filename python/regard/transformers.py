"""`attn_implementation="regard"` for Hugging Face transformers: import this module, then

    AutoModel.from_pretrained(..., attn_implementation="regard")

Keys and values of grouped heads are not repeated; causal, sliding-window and padding masks stay parameters; T5's position bias gets its
gradient. Dropout in training is computed by transformers' "sdpa"; attention sinks (`s_aux`) and paged caches are not supported yet.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ._attention import attention
from ._transformers_masks import CarriedMask, regard_mask
from .masks import causal, documents, tensor, window

NAME = "regard"


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
    cache=None,
    **kwargs,
):
    """The attention function of transformers' AttentionInterface: (batch, heads, seq, dim) in, ((batch, seq, heads, dim), None) out."""
    if s_aux is not None:
        raise NotImplementedError('attn_implementation="regard": attention sinks (s_aux) are not supported yet; use "eager" for this model')
    if cache is not None:
        raise NotImplementedError('attn_implementation="regard": paged caches (continuous batching) are not supported yet; use "sdpa"')
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    if dropout:
        if softcap:
            raise NotImplementedError('attn_implementation="regard": dropout with softcap is not supported yet; set attention_dropout to 0')
        return sdpa_attention_forward(
            module, query, key, value, _dense(attention_mask), dropout=dropout, scaling=scaling, is_causal=is_causal,
            position_bias=position_bias, **kwargs,
        )  # fmt: skip
    options = dict(scale=scaling, softcap=softcap or 0.0)
    if cu_seq_lens_q is not None and query.shape[0] == 1 and position_bias is None:
        return _packed(query, key, value, cu_seq_lens_q, cu_seq_lens_k, is_causal, sliding_window, options), None
    mask, bias = _mask_and_bias(attention_mask, position_bias)
    len_q, len_k = query.shape[2], key.shape[2]
    if attention_mask is None:
        if is_causal and len_q > 1:
            mask = causal(0)
            if len_k > len_q:  # the first step of a static cache: what lies behind is not written yet
                key, value = key[:, :, :len_q], value[:, :, :len_q]
                bias = bias if bias is None or bias.shape[-1] == 1 else bias[..., :len_q]
        if sliding_window is not None and len_k > sliding_window:
            # That many keys in all, the query's own included. Without is_causal the window reaches as far to the right.
            seen = window(sliding_window - 1, 0 if is_causal else sliding_window - 1)
            mask = seen if mask is None else mask & seen
    out = attention(query, key, value, mask=mask, bias=bias, **options)
    return out.transpose(1, 2).contiguous(), None


def _mask_and_bias(attention_mask, position_bias):
    if isinstance(attention_mask, CarriedMask):
        return attention_mask.mask, position_bias
    if attention_mask is None:
        return None, position_bias
    if attention_mask.dtype is torch.bool:
        return tensor(attention_mask), position_bias
    return None, attention_mask if position_bias is None else position_bias + attention_mask


def _packed(query, key, value, cu_q, cu_k, is_causal, sliding_window, options):
    """Several sequences in one row of the batch (packed training)."""
    mask = documents(cu_q, cu_k)
    if is_causal:
        mask = causal() & mask
    if sliding_window is not None:
        mask = window(sliding_window - 1, 0 if is_causal else sliding_window - 1) & mask
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]
    return attention(*rows, mask=mask, layout="thd", **options).unsqueeze(0)


def _dense(attention_mask):
    return attention_mask.dense() if isinstance(attention_mask, CarriedMask) else attention_mask


AttentionInterface.register(NAME, regard_attention)
AttentionMaskInterface.register(NAME, regard_mask)
