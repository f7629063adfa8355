# SPDX-License-Identifier: Apache-2.0
"""`attn_implementation="regard"` for Hugging Face transformers: import this module, then

    AutoModel.from_pretrained(..., attn_implementation="regard")

Keys and values of grouped heads are not repeated; causal, sliding-window, padding and packing masks
stay parameters; T5's position bias and gpt-oss's attention sinks get their gradients; dropout in
training follows torch's default generator; ``output_attentions=True`` gives exact weights. A model
whose code does not call transformers' attention interface is refused by name when it is loaded
(docs/transformers.md lists every architecture). ``model.generate_batch`` (continuous batching)
works on the pages of its cache."""

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from ._hf import arguments, continuous, growing, loading, weights
from ._hf.carried import CarriedMask
from ._hf.chosen import chosen_blocks, chosen_keys
from ._hf.masks import regard_mask
from ._hf.packed import packed, pattern, sliding
from ._torch.attention import attention
from .masks import NONE, causal, tensor
from .modifiers import sinks as sink_logits

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
    sinks=None,
    position_bias=None,
    indices=None,
    block_indices=None,
    cu_seq_lens_q=None,
    cu_seq_lens_k=None,
    cache=None,
    **kwargs,
):
    """The attention function of transformers' AttentionInterface: (batch, heads, seq, dim) in,
    (output, weights) out: (batch, seq, heads, dim), and (batch, heads, len_q, len_k) where the
    model was asked for attentions, else None.

    s_aux: (heads,), a logit of each head that takes its part of a row's sum; sinks: the same of a
    row's own, (batch, heads, len_q, 1). indices: (batch, len_q, n), the keys that each query sees.
    position_bias is added to the scores. NotImplementedError for what would change the result and
    is not served; a warning, once, for arguments not known."""
    with_weights = weights.wanted(module, kwargs)
    is_paged = continuous.is_paged(cache)
    arguments.check(continuous.others(kwargs) if is_paged else dict(kwargs, cache=cache))
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
        hidden = is_causal and not _masks_are_made_here(module)
    else:
        hidden = is_causal
    modifiers = () if s_aux is None else (sink_logits(s_aux),)
    options = dict(scale=scaling, softcap=softcap or 0.0, dropout_p=dropout, modifiers=modifiers)
    if dropout and with_weights:  # both must drop the same
        options["seed"] = torch.randint(2**62, ())
    boundaries = dict(cu_seq_lens_q=cu_seq_lens_q, cu_seq_lens_k=cu_seq_lens_k)
    if is_paged:
        arguments.refuse_beside(
            "continuous batching", attention_weights=with_weights, sinks=sinks is not None,
            position_bias=position_bias is not None, indices=indices is not None,
            block_indices=block_indices is not None,
        )  # fmt: skip
        boundaries.update(kwargs)
        return continuous.attend(
            module, query, key, value, cache, boundaries, sliding_window, options
        ), None
    seen = pattern(attention_mask, is_causal, sliding_window)
    if cu_seq_lens_q is not None and seen is not None:
        arguments.refuse_beside(
            "packed sequences (cu_seq_lens_q)", attention_weights=with_weights,
            sinks=sinks is not None,
        )  # fmt: skip
        options["bias"] = position_bias
        return packed(query, key, value, *boundaries.values(), seen, options), None
    if block_indices is not None:
        attention_mask = chosen_blocks(
            module, block_indices, attention_mask, query, key, kwargs.get("position_ids")
        )
    mask, bias = _mask_and_bias(attention_mask, position_bias, key.shape[2])
    if attention_mask is None:
        mask, key, value, bias = _unmasked(query, key, value, bias, hidden, sliding_window)
    if indices is not None:
        chosen = tensor(chosen_keys(indices, key.shape[2]))
        mask = chosen if mask is None or mask is NONE else mask & chosen
    options.update(mask=mask, bias=bias)
    shares = None
    if sinks is None:
        out = attention(query, key, value, **options)
    else:  # a sink is a key of value 0: what it takes of a row follows from the row's sum
        out, lse = attention(query, key, value, return_lse=True, **options)
        shares = torch.sigmoid(lse[..., None] - sinks).to(out.dtype)
        out = out * shares
    seen = None
    if with_weights:
        seen = weights.weights(module, query, key, **options)
        seen = seen if shares is None else seen * shares.detach()
    return out.transpose(1, 2).contiguous(), seen


def _masks_are_made_here(module):
    """Whether it belongs to a model that asks regard_mask for its masks, which never answers None:
    where the model hands over none, it means that nothing is hidden, whatever the module says of
    itself (BridgeTower's image layers say that they are causal, and are not)."""
    config = getattr(module, "config", None)
    return getattr(config, "_attn_implementation", None) == NAME


def _unmasked(query, key, value, bias, is_causal, sliding_window):
    """Without a mask is_causal says what is hidden: it is top-left aligned, and off for one
    query."""
    mask, len_q, len_k = None, query.shape[2], key.shape[2]
    if is_causal and len_q > 1:
        mask = causal(0)
        if len_k > len_q:  # the first step of a static cache: what lies behind is not written yet
            key, value = key[:, :, :len_q], value[:, :, :len_q]
            bias = bias if bias is None or bias.shape[-1] == 1 else bias[..., :len_q]
    if sliding_window is not None and len_k > sliding_window:
        seen = sliding(sliding_window, is_causal)
        mask = seen if mask is None else mask & seen
    return mask, key, value, bias


def _mask_and_bias(attention_mask, position_bias, len_k):
    if attention_mask is None:
        return None, position_bias
    if attention_mask.dtype is not torch.bool:
        return None, attention_mask if position_bias is None else position_bias + attention_mask
    if attention_mask.shape[-1] not in (1, len_k):
        raise ValueError(
            f"attention_mask: made for {attention_mask.shape[-1]} keys; expected {len_k}, as key"
            " has"
        )
    if isinstance(attention_mask, CarriedMask):
        return attention_mask.mask, position_bias
    return tensor(attention_mask), position_bias


AttentionInterface.register(NAME, regard_attention)
AttentionMaskInterface.register(NAME, regard_mask)
continuous.watch()
growing.watch()
loading.watch()
