# SPDX-License-Identifier: Apache-2.0
"""Attention from its formula, in float64, with dense boolean and bias matrices that the tests
build themselves.

Nothing here calls Regard: masks are boolean arrays made from the definitions below, not from
regard's mask values.
"""

import math

import torch

EPS = {
    torch.float32: 2.0**-23,
    torch.bfloat16: 2.0**-7,
    torch.float16: 2.0**-10,
    torch.float64: 2.0**-52,
}


def attention(q, k, v, allowed=None, bias=None, scale=None, softcap=0.0, kept=None):
    """(out, lse) for (batch, heads, seq, dim). Differentiable; whatever the inputs' dtype,
    computed in float64. `kept` is what dropout multiplies each weight with."""
    q, k, v = q.double(), k.double(), v.double()
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias.double()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    if scores.shape[-1] == 0:
        return scores @ v, q.new_full(q.shape[:-1], -math.inf)
    maximum = scores.amax(-1, keepdim=True).detach()
    maximum = torch.where(maximum == -math.inf, 0.0, maximum)
    weights = torch.exp(scores - maximum)
    total = weights.sum(-1, keepdim=True)
    seen = total > 0
    safe = torch.where(seen, total, 1.0)
    out = (weights / safe * (1.0 if kept is None else kept)) @ v
    lse = torch.where(seen, torch.log(safe) + maximum, -math.inf)
    return out, lse[..., 0]


def standard(q, k, v, allowed=None, bias=None, scale=None, softcap=0.0, kept=None):
    """What one writes in PyTorch, in the inputs' own dtype: its error is the yardstick."""
    group = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = torch.softmax(scores, -1).nan_to_num(0.0)
    return (weights if kept is None else weights * kept.to(weights.dtype)) @ v


def causal(len_q, len_k, offset=None):
    offset = len_k - len_q if offset is None else offset
    return torch.arange(len_k) <= torch.arange(len_q)[:, None] + offset


def window(len_q, len_k, left, right, offset=None):
    offset = len_k - len_q if offset is None else offset
    distance = torch.arange(len_k) - torch.arange(len_q)[:, None] - offset
    allowed = torch.ones(len_q, len_k, dtype=torch.bool)
    if left >= 0:
        allowed &= distance >= -left
    if right >= 0:
        allowed &= distance <= right
    return allowed


def key_lengths(lengths, len_k):
    return (torch.arange(len_k) < torch.as_tensor(lengths)[:, None])[:, None, None, :]


def documents(cu_q, cu_k, total_q, total_k, inner=lambda len_q, len_k: True):
    """Packed sequences, with the pairs of `inner(len_q, len_k)` within each."""
    allowed = torch.zeros(total_q, total_k, dtype=torch.bool)
    for n in range(len(cu_q) - 1):
        rows, keys = slice(cu_q[n], cu_q[n + 1]), slice(cu_k[n], cu_k[n + 1])
        allowed[rows, keys] = inner(cu_q[n + 1] - cu_q[n], cu_k[n + 1] - cu_k[n])
    return allowed


def _distances(len_q, len_k, offset=None):
    """What each query is ahead of each key by."""
    return (
        torch.arange(len_q)[:, None]
        + (len_k - len_q if offset is None else offset)
        - torch.arange(len_k)
    )


def dilated(len_q, len_k, left, right, dilations, offset=None):
    ahead = _distances(len_q, len_k, offset)
    heads = [(ahead % d == 0) & (ahead <= left * d) & (-ahead <= right * d) for d in dilations]
    return torch.stack(heads)


def global_tokens(len_q, len_k, tokens):
    own = torch.arange(len_q) + len_k - len_q
    tokens = torch.tensor(tokens)
    return torch.isin(own, tokens)[:, None] | torch.isin(torch.arange(len_k), tokens)


def blocks(layout, len_q, len_k, block_q, block_k):
    return layout[..., torch.arange(len_q)[:, None] // block_q, torch.arange(len_k) // block_k]


def prefix(lengths, len_q, len_k):
    return key_lengths(lengths, len_k) | causal(len_q, len_k)


def tree(parents, len_q, len_k):
    allowed = torch.zeros(len_k, len_k, dtype=torch.bool)
    past = len_k - len(parents)
    for token in range(len_k):
        allowed[token, : min(token + 1, past)] = True
        node = token - past
        while node >= 0:
            allowed[token, past + node] = True
            node = parents[node]
    return allowed[len_k - len_q :]


def around(centres, len_k, width):
    return (torch.arange(len_k) - centres.double()[..., None]).abs() <= width


def score_size(q, k, scale=None, **_):
    """The largest sum of absolute terms of a score: a rounding of that size moves a weight by as
    much."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1) if k.shape[1] else k
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else abs(scale)
    return _largest(q.double().abs() @ k.double().abs().transpose(-1, -2)) * scale


def _largest(x):
    return x.abs().max().item() if x.numel() else 0.0


def _roundings(dtype, q, k, options):
    return (
        EPS[dtype]
        + EPS[torch.float64 if dtype is torch.float64 else torch.float32]
        * score_size(q, k, **options)
        / 4
    )


def check_forward(actual, q, k, v, **options):
    """At most twice the error of standard attention in the same dtype, or four roundings (of a
    score too) of max|v|."""
    expected, _ = attention(q, k, v, **options)
    usual = _largest(standard(q, k, v, **options).double() - expected)
    bar = max(2 * usual, 4 * _roundings(q.dtype, q, k, options) * _largest(v))
    error = _largest(actual.double() - expected)
    assert actual.dtype == q.dtype
    assert actual.shape == expected.shape
    assert error <= bar, (
        f"forward error {error:.3g} above the bar {bar:.3g} (standard attention: {usual:.3g})"
    )


def gradients(function, inputs, d_out, dtype=None):
    """Gradients of sum(function(*inputs) * d_out) for every input."""
    leaves = [x.detach().clone().to(dtype or x.dtype).requires_grad_() for x in inputs]
    out = function(*leaves)
    return torch.autograd.grad(out, leaves, d_out.to(out.dtype), allow_unused=True)


def check_gradients(actual, inputs, d_out, make):
    """At most three times the error of standard attention's autograd, or twelve roundings of
    what its sums add up. `make(q, k, v, [bias,] f)` calls f, the oracle or standard attention,
    with the options under test."""
    seen = {}  # what arrived at the oracle, in its layout, and the gradient that came back to it

    def exact(q, k, v, **options):
        seen.update(q=q, k=k, v=v, options=options)
        out = attention(q, k, v, **options)[0]
        out.register_hook(lambda gradient: seen.update(d_out=gradient))
        return out

    expected = gradients(lambda *x: make(*x, exact), inputs, d_out, torch.float64)
    usual = gradients(lambda *x: make(*x, standard), inputs, d_out)
    sizes = _gradient_terms(*(seen[name] for name in ("q", "k", "v", "d_out")), **seen["options"])
    roundings = _roundings(inputs[0].dtype, seen["q"], seen["k"], seen["options"])
    if len(inputs) > 3:
        sizes = (*sizes[:3], _largest(_summed_to(sizes[3], inputs[3].shape)))
    for name, a, e, u, x, size in zip(
        ("query", "key", "value", "bias"), actual, expected, usual, inputs, sizes, strict=False
    ):
        if e is None:
            continue
        assert a.shape == x.shape, name
        usual_error = _largest((u.double() - e).nan_to_num(0.0))
        bar = max(3 * usual_error, 12 * roundings * size)
        error = _largest(a.double() - e)
        assert error <= bar, (
            f"gradient of {name}: error {error:.3g} above the bar {bar:.3g} (standard attention:"
            f" {usual_error:.3g})"
        )


def _gradient_terms(q, k, v, d_out, allowed=None, bias=None, scale=None, softcap=0.0, kept=None):
    """For query, key and value the largest sum of absolute terms in an element of the gradient;
    for a bias those of a dense one."""
    q, k, v, d_out = (x.detach().double() for x in (q, k, v, d_out))
    columns = torch.eye(k.shape[2], dtype=torch.float64).expand(*k.shape[:2], -1, -1)
    weights = attention(q, k, columns, allowed, bias, scale, softcap)[0].detach()
    heads_kv = k.shape[1]
    group = q.shape[1] // heads_kv
    k, v = (x.repeat_interleave(group, 1).abs() for x in (k, v))
    kept = 1.0 if kept is None else kept
    d_weights = d_out.abs() @ v.transpose(-1, -2) * kept
    d_scores = weights * (d_weights + (weights * d_weights).sum(-1, keepdim=True))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else abs(scale)

    def grouped(x):
        return x.unflatten(1, (heads_kv, group)).sum(2)

    dq = d_scores @ k * scale
    dk = grouped(d_scores.transpose(-1, -2) @ q.abs()) * scale
    dv = grouped((weights * kept).transpose(-1, -2) @ d_out.abs())
    return _largest(dq), _largest(dk), _largest(dv), d_scores


def _summed_to(x, shape):
    """What a broadcast adds up."""
    lead = x.dim() - len(shape)
    repeated = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1)]
    return x.sum(repeated) if repeated else x
