# SPDX-License-Identifier: Apache-2.0
"""Longformer's self-attention as its authors wrote it (Beltagy et al. 2020, arXiv 2004.05150),
in linear memory: docs/longformer.md.

./dev run python examples/longformer.py        times it beside transformers' own
"""

import time

import regard
import torch
from torch import nn


class LongformerSelfAttention(nn.Module):
    """The parameters have the names of transformers' LongformerSelfAttention, whose weights fit.
    `window` keys are seen on each side."""

    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.query_global, self.key_global, self.value_global = (
            nn.Linear(dim, dim) for _ in range(3)
        )

    def forward(self, hidden, global_tokens, lengths=None):
        """hidden (batch, seq, dim). global_tokens (batch, any): places of the global tokens,
        rows filled up with -1. lengths (batch,): positions from there on are padding, which
        nobody sees and whose rows are 0."""
        padding = None if lengths is None else regard.key_lengths(lengths)

        # One softmax over the window and the global keys, all of them with the local projections.
        mask = regard.window(self.window, self.window) | regard.global_tokens(global_tokens)
        inputs = [self._heads(project(hidden)) for project in (self.query, self.key, self.value)]
        out = regard.attention(
            *inputs, mask=mask if padding is None else mask & padding, layout="bshd"
        ).flatten(2)

        # The rows of the global tokens anew: they see every key, with projections of their own.
        there = global_tokens >= 0
        entry, place = (
            torch.arange(len(hidden))[:, None].expand_as(global_tokens)[there],
            global_tokens[there],
        )
        chosen = hidden.new_zeros(*global_tokens.shape, hidden.shape[-1]).index_put(
            (there,), hidden[entry, place]
        )
        inputs = [
            self._heads(x)
            for x in (self.query_global(chosen), self.key_global(hidden), self.value_global(hidden))
        ]
        rows = regard.attention(*inputs, mask=padding, layout="bshd").flatten(2)
        out = out.index_put((entry, place), rows[there])

        if lengths is None:
            return out
        return out.masked_fill((torch.arange(hidden.shape[1]) >= lengths[:, None])[..., None], 0.0)

    def _heads(self, x):
        return x.unflatten(-1, (self.heads, -1))


def main():
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention as Theirs

    length, dim, heads, window = 8192, 768, 12, 256
    theirs = Theirs(
        LongformerConfig(hidden_size=dim, num_attention_heads=heads, attention_window=[2 * window]),
        0,
    ).eval()
    ours = LongformerSelfAttention(dim, heads, window)
    ours.load_state_dict(theirs.state_dict())
    hidden, tokens = torch.randn(1, length, dim), torch.tensor([[0, 1, 2, 3]])
    kind = torch.zeros(1, length)
    kind[0, :4] = 10000

    mask = regard.window(window, window) | regard.global_tokens(tokens)
    plan = regard.plan(mask, heads=heads, len_q=length, len_k=length)
    print(plan.picture(width=48))
    print(f"{plan.density:.1%} of the pairs lie in tiles that exist")
    calls = {
        "regard": lambda: ours(hidden, tokens),
        "transformers": lambda: theirs(hidden, kind, kind < 0, kind > 0, True)[0],
    }
    with torch.no_grad():
        print(
            f"largest difference: {(calls['regard']() - calls['transformers']()).abs().max():.1e}"
        )
        for name, call in calls.items():
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
            print(f"{name}: {min(seconds):.3f} s")


if __name__ == "__main__":
    main()
