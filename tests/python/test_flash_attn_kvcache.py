# SPDX-License-Identifier: Apache-2.0
"""regard.flash_attn.flash_attn_with_kvcache: flash-attention's grid, sampled, with what should be
in the cache written row by row and each sequence beside the formula alone."""

import flash_formula as formula
import oracle
import pytest
import torch
from regard import flash_attn as fa
from regard.flash_attn.rotary import apply_rotary_emb

# The choices of its test_flash_attn_kvcache; the longest in LONGEST.
GRID = dict(
    dtype=[torch.float16, torch.bfloat16, torch.float32],
    heads=["mha", "mqa", "gqa"],
    lengths=[
        (1, 128),
        (1, 339),
        (3, 1024),
        (64, 800),
        (64, 256),
        (3, 799),
        (64, 2048),
        (128, 128),
        (16, 160),
        (33, 64),
    ],
    new=["no", "as queries", "more", "fewer"],
    rotary=[0.0, 0.0, 0.5, 1.0],
    interleaved=[True, False],
    leftpad=[False, False, True],
    entries=["own", "others", "paged 16", "paged 48", "paged 256"],
    causal=[False, True],
    window=[(-1, -1), (-1, -1), (40, 0), (30, 9)],
    alibi=["no", "no", "heads", "batch"],
    dim=[32, 59, 64, 96, 128, 256],
    softcap=[0.0, 0.0, 5.0],
)
LONGEST = GRID | dict(lengths=[(16, 20000), (1, 131072), (16, 131072)], dim=[64, 128])


def turned(x, cos, sin, positions, interleaved):
    """Rotary embeddings as products of complex numbers, float64: x (seqlen, heads, dim)."""
    half = cos.shape[-1]
    angles = torch.complex(cos.double(), sin.double())[positions][:, None]
    own, rest = x[..., : 2 * half].double(), x[..., 2 * half :].double()
    pairs = own.unflatten(-1, (half, 2)) if interleaved else own.unflatten(-1, (2, half)).mT
    result = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * angles)
    result = result if interleaved else result.mT
    return torch.cat((result.flatten(-2), rest), -1).to(x.dtype)


def caches_of(case, batch, room, heads_k, dim):
    """(k, v, options that say which rows are whose, a function (n) of the rows of sequence n)."""
    kind = case["entries"]
    if kind.startswith("paged"):
        size = int(kind.split()[1])
        count = -(-room // size)
        pages = [torch.randn(batch * count + 3, size, heads_k, dim) for _ in range(2)]
        table = torch.randperm(batch * count + 3)[: batch * count].view(batch, count).int()
        options = dict(block_table=table)
        return pages, options, lambda x, n: x[table[n].long()].flatten(0, 1), count * size
    if kind == "own":
        caches = [torch.randn(batch, room, heads_k, dim) for _ in range(2)]
        return caches, {}, lambda x, n: x[n], room
    entries = torch.randperm(batch + 2)[:batch].int()
    caches = [torch.randn(batch + 2, room, heads_k, dim) for _ in range(2)]
    return caches, dict(cache_batch_idx=entries), lambda x, n: x[entries[n]], room


@pytest.mark.parametrize(
    "case",
    formula.sampled(44, GRID) + formula.sampled(6, LONGEST),
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_output_and_cache(case):
    heads, heads_k = formula.heads_of(case["heads"])
    (len_q, len_k), dim, dtype = case["lengths"], case["dim"], case["dtype"]
    long = len_k > 10_000
    batch = 1 if long else 3
    new = {"no": 0, "as queries": len_q, "more": len_q + 3, "fewer": max(len_q // 2, 1)}[
        case["new"]
    ]
    caches, options, rows_of, room = caches_of(case, batch, len_k, heads_k, dim)
    k_cache, v_cache = (x.to(dtype) for x in caches)
    seqlens = torch.randint(room * 3 // 4 if long else 0, room - new + 1, (batch,)).int()
    leftpad = torch.zeros(batch).int()
    if case["leftpad"]:
        leftpad = torch.tensor([int(n) // 3 for n in seqlens]).int()
        options["cache_leftpad"] = leftpad
    slopes = formula.slopes_of(case["alibi"], batch, heads)
    q = torch.randn(batch, len_q, heads, dim).to(dtype)
    k, v = (torch.randn(batch, new, heads_k, dim).to(dtype) for _ in range(2))
    expected_k, expected_v = (
        torch.stack([rows_of(x, n) for n in range(batch)]) for x in (k_cache, v_cache)
    )

    keys, queries = k, q
    if new:
        options |= dict(k=k, v=v)
        half = int(case["rotary"] * dim) // 16 * 8
        if half:
            angles = torch.rand(room, half) * 6.28
            cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
            options |= dict(rotary_cos=cos, rotary_sin=sin)
            options["rotary_interleaved"] = how = case["interleaved"]
            in_order = case["causal"] or case["window"] != (-1, -1)
            at = [torch.arange(new) + n for n in seqlens]
            at_q = [
                (torch.arange(len_q) if in_order else torch.zeros(len_q)).long() + n
                for n in seqlens
            ]
            at_q = [x.clamp(max=room - 1) for x in at_q]
            options["rotary_cos"], options["rotary_sin"] = (
                torch.cat((x, x[-1:].expand(len_q, -1))) for x in (cos, sin)
            )
            keys = torch.stack([turned(k[n], cos, sin, at[n], how) for n in range(batch)])
            queries = torch.stack([turned(q[n], cos, sin, at_q[n], how) for n in range(batch)])
        for n in range(batch):
            expected_k[n, seqlens[n] : seqlens[n] + new] = keys[n]
            expected_v[n, seqlens[n] : seqlens[n] + new] = v[n]
    elif not case["leftpad"] and case["heads"] == "mha":
        seqlens = torch.full((batch,), int(seqlens[0])).int()

    out, lse = fa.flash_attn_with_kvcache(
        q,
        k_cache,
        v_cache,
        cache_seqlens=seqlens,
        causal=case["causal"],
        window_size=case["window"],
        softcap=case["softcap"],
        alibi_slopes=slopes,
        return_softmax_lse=True,
        **options,
    )
    for n in range(batch):
        # The kept keys are those of the formula to a rounding, the values are copies.
        torch.testing.assert_close(rows_of(k_cache, n), expected_k[n], rtol=2e-2, atol=1e-5)
        assert torch.equal(rows_of(v_cache, n), expected_v[n])
        end = int(seqlens[n]) + new
        alone = (
            queries[n : n + 1],
            expected_k[n : n + 1, int(leftpad[n]) : end],
            expected_v[n : n + 1, int(leftpad[n]) : end],
        )
        own = slopes[n] if case["alibi"] == "batch" else slopes
        what = dict(causal=case["causal"], window=case["window"], slopes=own)
        what |= dict(softcap=case["softcap"])
        exact, exact_lse = formula.sequence(*(x.double() for x in alone), **what)
        usual = formula.sequence(*alone, how=oracle.standard, **what)
        formula.close("out", out[n : n + 1], exact, usual, 3)  # flash-attention's factor for caches
        formula.check_lse(lse[n : n + 1], exact_lse, dtype)


def test_lengths_may_be_one_number_or_left_out():
    q, k, v = torch.randn(2, 1, 4, 16), *(torch.randn(2, 9, 2, 16) for _ in range(2))
    for number, keys in ((5, 5), (None, 9)):
        out = fa.flash_attn_with_kvcache(q, k, v, cache_seqlens=number, num_splits=4)
        torch.testing.assert_close(out, fa.flash_attn_func(q, k[:, :keys], v[:, :keys]))


def test_steps_are_the_whole():
    """A sequence fed in pieces gives what it gives at once."""
    q, k, v = (torch.randn(2, 40, h, 16) for h in (4, 2, 2))
    cache = [torch.zeros(2, 64, 2, 16) for _ in range(2)]
    outs, done = [], 0
    for step in (20, 1, 1, 17, 1):
        part = slice(done, done + step)
        new = dict(k=k[:, part], v=v[:, part], cache_seqlens=done, causal=True)
        outs.append(fa.flash_attn_with_kvcache(q[:, part], *cache, **new))
        done += step
    whole = fa.flash_attn_func(q, k, v, causal=True)
    torch.testing.assert_close(torch.cat(outs, 1), whole)


def test_no_gradient_is_promised():
    q = torch.randn(1, 1, 2, 8, requires_grad=True)
    assert not fa.flash_attn_with_kvcache(
        q, torch.randn(1, 4, 2, 8), torch.randn(1, 4, 2, 8)
    ).requires_grad


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary(interleaved):
    x, angles = torch.randn(2, 7, 3, 16), torch.rand(20, 4) * 6
    cos, sin = angles.cos(), angles.sin()
    offsets = torch.tensor([3, 11])
    expected = torch.stack(
        [turned(x[n], cos, sin, torch.arange(7) + offsets[n], interleaved) for n in range(2)]
    )
    actual = apply_rotary_emb(x, cos, sin, interleaved, seqlen_offsets=offsets)
    torch.testing.assert_close(actual, expected)
    cu = torch.tensor([0, 7, 14], dtype=torch.int32)
    packed = apply_rotary_emb(
        x.flatten(0, 1), cos, sin, interleaved, seqlen_offsets=offsets, cu_seqlens=cu, max_seqlen=7
    )
    assert torch.equal(packed, actual.flatten(0, 1))
    same = x.clone()
    assert apply_rotary_emb(same, cos, sin, interleaved, True, offsets) is same
    assert torch.equal(same, actual)
    with pytest.raises(ValueError, match="cos, sin: 20 positions; x has 3 to 21"):
        apply_rotary_emb(x, cos, sin, interleaved, seqlen_offsets=torch.tensor([3, 15]))
    leaf = x.double().requires_grad_()
    torch.autograd.gradcheck(
        lambda t: apply_rotary_emb(t, cos.double(), sin.double(), interleaved), leaf
    )


def x(*shape):
    return torch.zeros(shape)


def i32(*values):
    return torch.tensor(values, dtype=torch.int32)


CACHE, NEW = x(2, 16, 2, 8), x(2, 3, 2, 8)
WRONG = {
    "no room": (
        dict(k=NEW, v=NEW, cache_seqlens=i32(2, 14)),
        "k: 3 keys for sequence 1, which has",
    ),
    "no lengths": (dict(k=NEW, v=NEW), "cache_seqlens: not given; k and v go behind"),
    "k alone": (dict(k=NEW, cache_seqlens=i32(2, 3)), "v: NoneType; expected a tensor"),
    "v alone": (dict(v=NEW, cache_seqlens=i32(2, 3)), "v: given without k"),
    "rotary alone": (dict(rotary_cos=x(9, 2), rotary_sin=x(9, 2)), "rotary_cos: given without k"),
    "cos alone": (
        dict(k=NEW, v=NEW, cache_seqlens=i32(2, 3), rotary_cos=x(9, 2)),
        "rotary_sin: not given; rotary_cos is",
    ),
    "lengths past the end": (dict(cache_seqlens=i32(2, 17)), r"cache_seqlens: \[2, 17\]; expected"),
    "lengths of floats": (dict(cache_seqlens=x(2)), "cache_seqlens: torch.float32; expected"),
    "lengths of others": (dict(cache_seqlens=i32(2)), r"cache_seqlens: shape \(1,\); expected \(2"),
    "entries that are not there": (dict(cache_batch_idx=i32(0, 2)), r"cache_batch_idx: \[0, 2\]"),
    "an entry twice": (
        dict(k=NEW, v=NEW, cache_seqlens=i32(2, 3), cache_batch_idx=i32(1, 1)),
        "cache_batch_idx: .* each entry at most once",
    ),
    "scale": (dict(softmax_scale="a"), "softmax_scale: 'a'; expected a number"),
    "entries and pages": (
        dict(cache_batch_idx=i32(0, 1), block_table=i32(0, 1)[:, None]),
        "cache_batch_idx: given with block_table",
    ),
    "another batch": (dict(q=x(3, 1, 4, 8)), "k_cache: .* batch size 2; q has 3"),
    "heads": (dict(q=x(2, 1, 3, 8)), "k_cache: .* 2 heads; q has 3"),
    "new heads": (dict(k=x(2, 3, 1, 8), v=x(2, 3, 1, 8), cache_seqlens=i32(2, 3)), "k: .* 2 heads"),
    "slopes": (
        dict(alibi_slopes=x(3), k=NEW, v=NEW, cache_seqlens=i32(2, 3)),
        "alibi_slopes: shape",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_name_their_argument_and_write_nothing(name):
    changes, expected = WRONG[name]
    k_cache, v_cache = (torch.randn_like(CACHE) for _ in range(2))
    before = k_cache.clone(), v_cache.clone()
    call = dict(q=x(2, 1, 4, 8), k_cache=k_cache, v_cache=v_cache)
    with pytest.raises(ValueError, match=expected):
        fa.flash_attn_with_kvcache(**(call | changes))
    assert torch.equal(k_cache, before[0]) and torch.equal(v_cache, before[1])
