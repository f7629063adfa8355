# SPDX-License-Identifier: Apache-2.0
"""Modules in place of torch.nn's."""

import torch
from torch.nn.functional import linear, pad

from ._torch.attention import attention
from ._torch.switch import enabled
from ._torch.weights import attention_weights
from .masks import causal, tensor
from .modifiers import drawn_seed

__all__ = ["MultiheadAttention"]


class MultiheadAttention(torch.nn.MultiheadAttention):
    """torch.nn.MultiheadAttention (arXiv 1706.03762), with its arguments, its state dict and its
    results, on Regard's kernels in training and in eval: a mask, padding, dropout and
    need_weights=True do not change that.

    forward(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
    average_attn_weights=True, is_causal=False): as there. (len, batch, embed_dim), or (batch, len,
    embed_dim) with batch_first, or without a batch. Masks: boolean, True where not attended, or
    floating, added to the scores.

    need_weights=True builds what it returns and no more: averaged weights are (batch, len_q, len_k)
    and never one matrix a head. They have gradients. A row that sees no key gives zeros where
    torch.nn gives NaN. Nested tensors take torch.nn's way, with attention on Regard's kernels in
    eval without gradients."""

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        if any(x.is_nested for x in (query, key, value)):
            with enabled():
                return super().forward(
                    query,
                    key,
                    value,
                    key_padding_mask,
                    need_weights,
                    attn_mask,
                    average_attn_weights,
                    is_causal,
                )
        self._check(query, key, value, key_padding_mask, attn_mask, is_causal)
        batched = query.dim() == 3
        q, k, v = (self._heads(x, batched) for x in self._projected(query, key, value))
        k, v, extra = self._with_extra_keys(k, v)
        if is_causal and key_padding_mask is None and not need_weights:
            mask, bias = causal(0), None  # the hint says what attn_mask holds
        else:
            mask, bias = self._mask_and_bias(attn_mask, key_padding_mask, q.shape[0], extra)
        options = {"mask": mask, "bias": bias}
        if self.training and self.dropout > 0:
            options |= {"dropout_p": self.dropout, "seed": drawn_seed()}
        out = attention(q, k, v, **options).transpose(1, 2).flatten(2)
        if not batched:
            out = out[0]
        elif not self.batch_first:
            out = out.transpose(0, 1)
        out = self.out_proj(out)
        if not need_weights:
            return out, None
        weights = attention_weights(q, k, mean_heads=average_attn_weights, **options)
        return out, weights if batched else weights[0]

    def _check(self, query, key, value, key_padding_mask, attn_mask, is_causal):
        rank = query.dim()
        if rank not in (2, 3) or key.dim() != rank or value.dim() != rank:
            shapes = ", ".join(str(tuple(x.shape)) for x in (query, key, value))
            raise ValueError(
                f"query, key, value: shapes {shapes}; expected three of 3 dimensions, or of 2"
                " without a batch"
            )
        for name, x in (("key_padding_mask", key_padding_mask), ("attn_mask", attn_mask)):
            if x is not None and x.dtype is not torch.bool and not x.is_floating_point():
                raise ValueError(
                    f"{name}: {x.dtype}; expected torch.bool, True where not attended, or a"
                    " floating-point tensor, which is added to the scores"
                )
        if is_causal and attn_mask is None:
            raise ValueError(
                "attn_mask: None; is_causal=True is a hint about it and expects the mask too"
            )

    def _projected(self, query, key, value):
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        if self._qkv_same_embed_dim:
            if query is key and key is value:
                return linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return [
            linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        ]

    def _heads(self, x, batched):
        """(batch, heads, seq, dim)."""
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        if not batched:
            return x.unsqueeze(0).transpose(1, 2)
        return x.transpose(1, 2) if self.batch_first else x.permute(1, 2, 0, 3)

    def _with_extra_keys(self, k, v):
        """bias_k and bias_v, and a key of zeros, behind the others; and how many these are."""
        extra = 0
        if self.bias_k is not None:
            rows = [
                x.view(1, self.num_heads, 1, self.head_dim).expand(k.shape[0], -1, -1, -1)
                for x in (self.bias_k, self.bias_v)
            ]
            k, v = torch.cat([k, rows[0]], 2), torch.cat([v, rows[1]], 2)
            extra += 1
        if self.add_zero_attn:
            k, v = (pad(x, (0, 0, 0, 1)) for x in (k, v))
            extra += 1
        return k, v, extra

    def _mask_and_bias(self, attn_mask, key_padding_mask, batch, extra):
        """Boolean masks stay masks, floating ones are biases; extra keys are seen by all."""
        mask, bias = None, None
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.view(batch, 1, 1, -1)
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (batch, self.num_heads))
        for x in (attn_mask, key_padding_mask):
            if x is None:
                continue
            x = pad(x, (0, extra)) if extra else x
            if x.dtype is torch.bool:
                seen = tensor(~x)
                mask = seen if mask is None else mask & seen
            else:
                bias = x if bias is None else bias + x
        return mask, bias
