# SPDX-License-Identifier: Apache-2.0
"""regard.flash_attn's functions for sequences of one length: flash-attention's own grid of tests,
sampled, beside a float64 formula at its bars."""

import inspect

import flash_formula as formula
import oracle
import pytest
import torch
from regard import flash_attn as fa

# The lengths, head dimensions and choices of its test_flash_attn_output, test_flash_attn_causal
# and test_flash_attn_qkvpacked; the longest in LONGEST.
GRID = dict(
    packed=["no", "kv", "qkv"],
    dtype=[torch.float16, torch.bfloat16, torch.float32],
    heads=["mha", "mqa", "gqa"],
    alibi=["no", "heads", "batch"],
    window=[(-1, -1), (-1, -1), (17, 0), (30, 9), (-1, 5), (7, -1)],
    causal=[False, True],
    dim=[32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256],
    lengths=[
        (113, 203),
        (128, 217),
        (113, 211),
        (108, 256),
        (256, 512),
        (512, 256),
        (1024, 1024),
        (1023, 1024),
        (1024, 1023),
        (127, 513),
        (3, 799),
        (1, 239),
        (65, 128),
        (128, 64),
        (63, 64),
        (97, 97),
    ],
    deterministic=[False, True],
    dropout_p=[0.0, 0.0, 0.17],
    softcap=[0.0, 0.0, 5.0, 50.0],
    scale=[None, None, 0.3],
)
LONGEST = GRID | dict(lengths=[(2048, 2048)], dim=[64, 128, 59])


def call(case, q, k, v, **options):
    if case["packed"] == "qkv" and q.shape == k.shape:
        return fa.flash_attn_qkvpacked_func(torch.stack((q, k, v), 2), **options)
    if case["packed"] == "kv":
        return fa.flash_attn_kvpacked_func(q, torch.stack((k, v), 2), **options)
    return fa.flash_attn_func(q, k, v, **options)


@pytest.mark.parametrize(
    "case",
    formula.sampled(36, GRID) + formula.sampled(3, LONGEST),
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_output_and_gradients(case):
    heads, heads_k = formula.heads_of(case["heads"])
    len_q, len_k = case["lengths"]
    if case["packed"] == "qkv":
        heads_k, len_q = heads, len_k
    batch = 1 if len_q * len_k > 10**6 else 2
    dim, dtype, dropout_p = case["dim"], case["dtype"], case["dropout_p"]
    q = torch.randn(batch, len_q, heads, dim).to(dtype).requires_grad_()
    k, v = (torch.randn(batch, len_k, heads_k, dim).to(dtype).requires_grad_() for _ in range(2))
    slopes = formula.slopes_of(case["alibi"], batch, heads)
    options = dict(causal=case["causal"], window_size=case["window"], softcap=case["softcap"])
    options |= dict(softmax_scale=case["scale"], alibi_slopes=slopes)
    options |= dict(deterministic=case["deterministic"])
    out, lse, shown = call(case, q, k, v, dropout_p=dropout_p, return_attn_probs=True, **options)
    kept = None
    if dropout_p:
        dropped = shown.signbit()  # -0.0 among them: a weight too small for float16
        kept = ~dropped / (1 - dropout_p)
        seen = formula.allowed(len_q, len_k, case["causal"], case["window"]).expand_as(shown)
        share = dropped[seen].double().mean().item()
        assert abs(share - dropout_p) < 5 * (dropout_p / seen.sum().item()) ** 0.5
    else:
        assert shown.numel() == 0

    what = dict(causal=case["causal"], window=case["window"], slopes=slopes)
    what |= dict(softcap=case["softcap"], kept=kept, scale=case["scale"])
    exact, exact_lse, expected = formula.with_gradients(q, k, v, g := torch.randn_like(out), **what)
    usual = formula.sequence(q, k, v, how=oracle.standard, **what)
    formula.close("out", out, exact, usual, 2)
    formula.check_lse(lse, exact_lse, dtype)
    assert out.dtype == dtype and not lse.requires_grad
    actual = torch.autograd.grad(out, (q, k, v), g)
    standard = torch.autograd.grad(usual, (q, k, v), g)
    for name, a, e, u in zip("qkv", actual, expected, standard, strict=True):
        formula.close(f"d{name}", a, e, u, 3)


def test_shown_probabilities_are_the_weights():
    q, k, v = (torch.randn(2, n, 4, 16) for n in (9, 13, 13))
    slopes = torch.rand(2, 4)
    options = dict(causal=True, window_size=(5, -1), softcap=2.0, alibi_slopes=slopes)
    out, _, shown = fa.flash_attn_func(q, k, v, 0.5, return_attn_probs=True, **options)
    eye = torch.eye(13).expand(2, 4, 13, 13).transpose(1, 2)
    weights, _ = formula.sequence(
        q, k, eye, causal=True, window=(5, -1), slopes=slopes, softcap=2.0
    )
    torch.testing.assert_close(shown.abs(), weights.transpose(1, 2).float())
    dropped = torch.where(shown >= 0, shown / 0.5, 0.0) @ v.transpose(1, 2)
    torch.testing.assert_close(out, dropped.transpose(1, 2))


def test_packed_gradients_are_of_the_packed_shape():
    qkv = torch.randn(2, 33, 3, 4, 16, requires_grad=True)
    g = torch.randn(2, 33, 4, 16)
    (packed,) = torch.autograd.grad(fa.flash_attn_qkvpacked_func(qkv, causal=True), qkv, g)
    q, k, v = (x.detach().clone().requires_grad_() for x in qkv.unbind(2))
    apart = torch.autograd.grad(fa.flash_attn_func(q, k, v, causal=True), (q, k, v), g)
    assert torch.equal(packed, torch.stack(apart, 2))


def test_dropout_follows_the_generator():
    q = torch.randn(1, 40, 2, 16)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(fa.flash_attn_func(q, q, q, dropout_p=0.3))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])


def test_rows_that_see_nothing():
    q, k = torch.randn(1, 5, 2, 16, requires_grad=True), torch.randn(1, 3, 2, 16)
    out, lse, _ = fa.flash_attn_func(q, k, k, causal=True, return_attn_probs=True)
    assert not out[:, :2].any() and (lse[..., :2] == torch.inf).all()
    assert torch.isfinite(lse[..., 2:]).all()
    out.sum().backward()
    assert not q.grad[:, :2].any() and torch.isfinite(q.grad).all()


def test_slopes_get_no_gradient():
    q, slopes = torch.randn(1, 5, 2, 16, requires_grad=True), torch.rand(2, requires_grad=True)
    fa.flash_attn_func(q, q, q, alibi_slopes=slopes).sum().backward()
    assert slopes.grad is None and q.grad is not None


SIGNATURES = {
    "flash_attn_func": "q k v dropout_p softmax_scale causal window_size softcap alibi_slopes"
    " deterministic return_attn_probs",
    "flash_attn_qkvpacked_func": "qkv dropout_p softmax_scale causal window_size softcap"
    " alibi_slopes deterministic return_attn_probs",
    "flash_attn_kvpacked_func": "q kv dropout_p softmax_scale causal window_size softcap"
    " alibi_slopes deterministic return_attn_probs",
    "flash_attn_varlen_func": "q k v cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k dropout_p"
    " softmax_scale causal window_size softcap alibi_slopes deterministic return_attn_probs"
    " block_table",
    "flash_attn_varlen_qkvpacked_func": "qkv cu_seqlens max_seqlen dropout_p softmax_scale causal"
    " window_size softcap alibi_slopes deterministic return_attn_probs",
    "flash_attn_varlen_kvpacked_func": "q kv cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k"
    " dropout_p softmax_scale causal window_size softcap alibi_slopes deterministic"
    " return_attn_probs",
    "flash_attn_with_kvcache": "q k_cache v_cache k v rotary_cos rotary_sin cache_seqlens"
    " cache_batch_idx cache_leftpad block_table softmax_scale causal window_size softcap"
    " rotary_interleaved alibi_slopes num_splits return_softmax_lse",
}
DEFAULTS = dict(
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
    rotary_interleaved=True,
    num_splits=0,
    return_softmax_lse=False,
)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    found = inspect.signature(getattr(fa, name)).parameters
    assert list(found) == SIGNATURES[name].split()
    for parameter in found.values():
        if parameter.name in DEFAULTS:
            assert parameter.default == DEFAULTS[parameter.name]


def x(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


GOOD = x(2, 5, 4, 8)
WRONG = {
    "rank": ((x(5, 4, 8), GOOD, GOOD), {}, r"q: shape \(5, 4, 8\); expected \(batch, seqlen"),
    "no tensor": ((GOOD, None, GOOD), {}, "k: NoneType; expected a tensor"),
    "dtypes": ((GOOD, GOOD.half(), GOOD), {}, "k: torch.float16; expected torch.float32, as q"),
    "heads": ((GOOD, x(2, 5, 3, 8), x(2, 5, 3, 8)), {}, "k: .* 3 heads; q has 4"),
    "batch": ((GOOD, x(3, 5, 4, 8), x(3, 5, 4, 8)), {}, "k: .* batch size 3; q has 2"),
    "dims": ((GOOD, x(2, 5, 4, 9), GOOD), {}, "k: .* head dimension 9; q has 8"),
    "values": ((GOOD, GOOD, x(2, 6, 4, 8)), {}, r"v: shape \(2, 6, 4, 8\); expected \(2, 5, 4\)"),
    "integers": ((GOOD.int(),) * 3, {}, "q: torch.int32; expected torch.float32, torch.bfloat16"),
    "a wide head": ((x(1, 2, 1, 513),) * 3, {}, "q: shape .* dim 513; expected 1 to 512"),
    "slopes": ((GOOD,) * 3, dict(alibi_slopes=x(3)), r"alibi_slopes: shape \(3,\); expected"),
    "window": ((GOOD,) * 3, dict(window_size=4), r"window_size: 4; expected \(left, right\)"),
    "softcap": ((GOOD,) * 3, dict(softcap=-1.0), "softcap: -1.0; expected a positive number"),
    "dropout": ((GOOD,) * 3, dict(dropout_p=1.5), "dropout_p: 1.5"),
    "scale": ((GOOD,) * 3, dict(softmax_scale="a"), "softmax_scale: 'a'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_name_their_argument(name):
    inputs, options, expected = WRONG[name]
    with pytest.raises(ValueError, match=expected):
        fa.flash_attn_func(*inputs, **options)
    with pytest.raises(ValueError, match=r"qkv: shape .* expected \(batch, seqlen, 3, heads, dim"):
        fa.flash_attn_qkvpacked_func(GOOD)
