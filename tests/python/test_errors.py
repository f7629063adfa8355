# SPDX-License-Identifier: Apache-2.0
"""What a caller got wrong is a ValueError that names the argument."""

import pytest
import regard
import torch


def x(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


GOOD = x(2, 4, 5, 8)

WRONG = {
    "key's dim": ("key", (GOOD, x(2, 4, 5, 9), GOOD), {}),
    "value's length": ("value", (GOOD, GOOD, x(2, 4, 6, 8)), {}),
    "heads that do not divide": ("key", (GOOD, x(2, 3, 5, 8), x(2, 3, 5, 8)), {}),
    "key's and value's heads": ("value", (GOOD, GOOD, x(2, 2, 5, 8)), {}),
    "batches": ("leading|batch|query|key", (GOOD, x(3, 4, 5, 8), x(3, 4, 5, 8)), {}),
    "dtypes": ("key", (GOOD, GOOD.double(), GOOD), {}),
    "integers": ("query", (GOOD.int(), GOOD.int(), GOOD.int()), {}),
    "complex": ("query", (GOOD.cfloat(), GOOD.cfloat(), GOOD.cfloat()), {}),
    "too few dimensions": ("query", (x(8), x(8), x(8)), {}),
    "a head too wide": ("query|dim", (x(1, 1, 2, 513),) * 3, {}),
    "no dims": ("query|dim", (x(1, 1, 2, 0),) * 3, {}),
    "not a tensor": ("key", (GOOD, [1.0], GOOD), {}),
    "layout": ("layout", (GOOD,) * 3, dict(layout="sbhd")),
    "thd of rank 4": ("query", (GOOD,) * 3, dict(layout="thd")),
    "bias that cannot broadcast": ("bias", (GOOD,) * 3, dict(bias=x(3, 5, 5))),
    "bias of booleans": ("bias", (GOOD,) * 3, dict(bias=x(5, 5, dtype=torch.bool))),
    "mask that cannot broadcast": ("mask", (GOOD,) * 3, dict(mask=x(4, 5, dtype=torch.bool))),
    "mask of floats": ("mask: a tensor", (GOOD,) * 3, dict(mask=x(5, 5))),
    "mask of another kind": ("mask", (GOOD,) * 3, dict(mask="causal")),
    "negative softcap": ("softcap", (GOOD,) * 3, dict(softcap=-1.0)),
    "nan scale": ("scale", (GOOD,) * 3, dict(scale=float("nan"))),
    "key lengths of another batch": ("lengths", (GOOD,) * 3, dict(mask=regard.key_lengths([5]))),
    "key lengths past the end": ("lengths", (GOOD,) * 3, dict(mask=regard.key_lengths([5, 6]))),
    "cu_seqlens that fall": (
        "cu_q",
        (x(6, 4, 8),) * 3,
        dict(layout="thd", mask=regard.documents([0, 4, 2])),
    ),
    "cu_seqlens past the end": (
        "cu_q",
        (x(6, 4, 8),) * 3,
        dict(layout="thd", mask=regard.documents([0, 9])),
    ),
    "dropout_p": ("dropout_p", (GOOD,) * 3, dict(dropout_p=1.5)),
}


@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("name", WRONG)
def test_mistakes_name_their_argument(name, needs_grad):
    argument, inputs, options = WRONG[name]
    if needs_grad:
        inputs = [
            t.clone().requires_grad_()
            if isinstance(t, torch.Tensor) and t.is_floating_point()
            else t
            for t in inputs
        ]
    with pytest.raises(ValueError, match=argument):
        regard.attention(*inputs, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: regard.window(-2, 0),
        lambda: regard.key_lengths(3.5),
        lambda: regard.documents([[0, 1]]),
    ],
)
def test_masks_that_say_nothing(make):
    with pytest.raises(ValueError, match="window|lengths|cu_q"):
        make()


def test_modifiers_are_values():
    with pytest.raises(ValueError, match="modifiers: str; expected values such as"):
        regard.attention(GOOD, GOOD, GOOD, modifiers=("alibi",))


@pytest.mark.parametrize("options", [{}, dict(softcap=2.0)], ids=str)
def test_meta_tensors_have_shapes_only(options):
    inputs = [GOOD.to("meta").requires_grad_() for _ in range(3)]
    out = regard.attention(*inputs, **options)
    assert out.is_meta and out.shape == GOOD.shape
    assert torch.autograd.grad(out.sum(), inputs)[1].shape == GOOD.shape


@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
def test_meta_tensors_broadcast(needs_grad):
    inputs = [
        x(*shape).to("meta").requires_grad_(needs_grad)
        for shape in ((1, 4, 5, 8), (3, 2, 6, 8), (2, 6, 8))
    ]
    out = regard.attention(*inputs)
    assert out.is_meta and out.shape == (3, 4, 5, 8)
    if needs_grad:
        assert [g.shape for g in torch.autograd.grad(out.sum(), inputs)] == [
            t.shape for t in inputs
        ]


def test_unknown_target():
    with pytest.raises(ValueError, match="abacus"):
        regard.set_target("abacus")


NOT_NUMBERS = {
    "causal, half a position": ("causal: offset: 1.5", lambda: regard.causal(1.5)),
    "causal, a text": ("causal: offset: 'a'", lambda: regard.causal("a")),
    "causal, beyond 64 bits": ("causal: offset:", lambda: regard.causal(2**70)),
    "window, nan": ("window: left: nan", lambda: regard.window(float("nan"), 0)),
    "window, beyond 64 bits": ("window: left:", lambda: regard.window(2**70, 0)),
    "window, offset": ("window: offset: 0.5", lambda: regard.window(1, 0, 0.5)),
    "blocks, a text": ("block_size: ", lambda: regard.blocks(x(2, 2, dtype=torch.bool), ("a", 2))),
    "scale, a text": (
        "scale: 'a'; expected a number",
        lambda: regard.attention(GOOD, GOOD, GOOD, scale="a"),
    ),
    "scale, too large": (
        r"scale: 1e\+300; expected a number that float32 can hold",
        lambda: regard.attention(GOOD, GOOD, GOOD, scale=1e300),
    ),
    "scale with a gradient": (
        "scale: .*temperature",
        lambda: regard.attention(GOOD, GOOD, GOOD, scale=torch.ones((), requires_grad=True)),
    ),
    "softcap, a text": (
        "softcap: 'a'; expected a number",
        lambda: regard.attention(GOOD, GOOD, GOOD, softcap="a"),
    ),
    "plan": (
        "plan: int; expected what regard.plan",
        lambda: regard.attention(GOOD, GOOD, GOOD, plan=3),
    ),
    "modifiers": (
        "modifiers: int; expected a tuple",
        lambda: regard.attention(GOOD, GOOD, GOOD, modifiers=3),
    ),
    "seed, a text": (
        "seed: 'a'; expected a whole number",
        lambda: regard.attention(GOOD, GOOD, GOOD, dropout_p=0.5, seed="a"),
    ),
    "seed, two": (
        "seed: torch.int64, shape",
        lambda: regard.attention(GOOD, GOOD, GOOD, dropout_p=0.5, seed=torch.tensor([1, 2])),
    ),
    "bias of 5 dimensions": (
        r"bias: shape \(1, 1, 1, 5, 5\)",
        lambda: regard.attention(GOOD, GOOD, GOOD, bias=x(1, 1, 1, 5, 5)),
    ),
    "bias elsewhere": (
        "bias: on meta; query is on cpu",
        lambda: regard.attention(GOOD, GOOD, GOOD, bias=x(5, 5).to("meta")),
    ),
    "key elsewhere": (
        "key: on meta; query is on cpu",
        lambda: regard.attention(GOOD, GOOD.to("meta"), GOOD),
    ),
    "sinks elsewhere": (
        "modifier, shape .* on meta",
        lambda: attend(modifiers=regard.sinks(x(4).to("meta"))),
    ),
    "sparse bias": (
        "bias: a tensor of layout torch.sparse",
        lambda: attend(bias=x(5, 5).to_sparse()),
    ),
    "scale, a text of a number": ("scale: '0.5'; expected a number", lambda: attend(scale="0.5")),
    "scale, beyond floats": ("scale: a whole number beyond", lambda: attend(scale=10**400)),
    "softcap, two": ("softcap: Tensor; expected a number", lambda: attend(softcap=torch.ones(2))),
    "softcap with a gradient": (
        "softcap: a tensor that requires a gradient",
        lambda: attend(softcap=torch.nn.Parameter(x())),
    ),
    "softcap, beyond float32": (
        r"softcap: 1e\+39; expected a number that float32",
        lambda: attend(softcap=1e39),
    ),
    "temperature, below float32": (
        "temperature: 1e-39; expected a num",
        lambda: attend(modifiers=regard.temperature(x(4) + 1e-39)),
    ),
    "sigma, none": ("gaussian: sigma: NoneType", lambda: regard.gaussian(x(5), None)),
    "sigma with a gradient": (
        "gaussian: sigma: a tensor that requires",
        lambda: regard.gaussian(x(5), torch.ones((), requires_grad=True)),
    ),
    "sigma, below float32": (
        "gaussian.sigma: 1e-25; expected",
        lambda: attend(modifiers=regard.gaussian(x(1, 1, 5), 1e-25)),
    ),
    "dropout_p, a text": ("dropout_p: 'a'", lambda: attend(dropout_p="a")),
    "seed without dropout": ("seed: 'a'", lambda: attend(seed="a")),
    "lengths, none": ("lengths: None; expected int32", lambda: regard.key_lengths(None)),
    "tokens, rows of two lengths": (
        r"tokens: \[\[0\], \[1, 2\]\]",
        lambda: regard.global_tokens([[0], [1, 2]]),
    ),
    "blocks, half a row": (
        "block_size: 1.5",
        lambda: regard.blocks(x(2, 2, dtype=torch.bool), 1.5),
    ),
    "blocks, none": ("block_size: None", lambda: regard.blocks(x(2, 2, dtype=torch.bool), None)),
    "bigbird, seed": ("bigbird: seed: None", lambda: regard.bigbird(seed=None)),
    "t5_bias, a list": ("t5_bias: table: list", lambda: regard.t5_bias([1.0], 5, 5)),
    "t5_bias, one bucket": (
        "t5_bias: table: 1 buckets; expected at least 4",
        lambda: regard.t5_bias(x(1, 4), 5, 5),
    ),
    "swin_bias, no rows": ("swin_bias: height: 0", lambda: regard.swin_bias(x(9, 4), 0, 2)),
    "swin_bias, another window's": (
        "swin_bias: table: 9 entries; expected 15",
        lambda: regard.swin_bias(x(9, 4), 2, 3),
    ),
    "codes, beyond int32": (
        "buckets: from 0 to 4294967296",
        lambda: codes(buckets=torch.tensor([0, 2**32])),
    ),
    "codes, booleans": (
        "query_code: torch.bool",
        lambda: codes(query_code=torch.ones(5, dtype=torch.bool)),
    ),
    "codes, shift": ("relative_bias: shift: 4.7", lambda: codes(shift=4.7)),
    "a function of Python": (
        "function: apply: function; expected the address",
        lambda: regard.function(lambda tile: None),
    ),
    "plan, half a row": (
        "len_q: 5.5; expected a whole number",
        lambda: regard.plan(regard.causal(), len_q=5.5, len_k=5),
    ),
    "plan's picture, head": ("head: 9; expected a whole number from 0 to 0", lambda: drawn(head=9)),
    "plan's picture, width": ("width: 0; expected a whole number from 1", lambda: drawn(width=0)),
    "luong_general, no weight": (
        "luong_general: weight: NoneType",
        lambda: regard.luong_general(GOOD, GOOD, GOOD, None),
    ),
    "luong_location, one dimension": (
        r"luong_location: query: shape \(8,\)",
        lambda: regard.luong_location(x(8), GOOD, x(5, 8)),
    ),
    "luong_location, layout": (
        "luong_location: layout: 'bshd'",
        lambda: regard.luong_location(GOOD, GOOD, x(5, 8), layout="bshd"),
    ),
}


def attend(**options):
    return regard.attention(GOOD, GOOD, GOOD, **options)


def codes(**changes):
    good = dict(
        buckets=torch.zeros(9, dtype=torch.int64),
        query_code=torch.arange(5),
        key_code=torch.arange(5),
        shift=4,
    )
    return regard.relative_bias(x(3, 4), **(good | changes))


def drawn(**options):
    return regard.plan(regard.causal(), len_q=5, len_k=5).picture(**options)


def test_numbers_of_other_kinds_are_served():
    most = 2**63 - 1
    masks = [
        (regard.window(most, 0), regard.window(-1, 0)),
        (regard.causal(-most), regard.window(0, 0, -most)),
        (regard.causal(most), None),
        (regard.dilated(most, most, 2), regard.dilated(-1, -1, torch.tensor([2]))),
        (regard.around(x(1, 1, 5), most), None),
        (regard.prefix([0, 0], most), None),
    ]
    q, k, v = (torch.randn(2, 4, n, 8) for n in (5, 7, 7))
    for mask, same in masks:
        assert torch.equal(
            regard.attention(q, k, v, mask=mask), regard.attention(q, k, v, mask=same)
        ), mask
    two = torch.tensor(2)
    assert regard.dilated(1, 1, two.numpy()[()]).shown == regard.dilated(1, 1, 2).shown
    assert regard.dilated(1, 1, torch.tensor([2, 3]).numpy()).tensors[0].tolist() == [2, 3]
    assert (
        regard.blocks(x(3, 4, dtype=torch.bool), two.numpy()[()]).ints
        == regard.blocks(x(3, 4, dtype=torch.bool), 2).ints
    )
    kept = [
        regard.attention(q, k, v, dropout_p=0.5, seed=seed) for seed in (2, two, two.numpy()[()])
    ]
    wide = regard.gaussian(x(1, 1, 5), 1e25)  # so wide that it changes nothing
    assert torch.equal(
        regard.attention(q, k, v, modifiers=wide),
        regard.attention(q, k, v, modifiers=regard.multiplier(torch.ones(()))),
    )
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], kept[2])
    assert torch.equal(
        regard.attention(q, k, v, modifiers=None, softcap=0, dropout_p=0, scale=1),
        regard.attention(q, k, v, scale=1.0),
    )


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_not_such_a_value(name):
    expected, call = NOT_NUMBERS[name]
    with pytest.raises(ValueError, match=expected) as error:
        call()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("heads", [(0, 4), (0, 0)], ids=str)
@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
def test_no_query_heads(heads, needs_grad):
    query, key, value = (
        x(2, h, n, 8).requires_grad_(needs_grad)
        for h, n in ((heads[0], 5), (heads[1], 7), (heads[1], 7))
    )
    out = regard.attention(query, key, value)
    assert out.shape == (2, 0, 5, 8)
    if needs_grad:
        assert not torch.autograd.grad(out.sum(), key)[0].any()


def test_statistics_of_another_call():
    query = torch.randn(2, 3, 5, 8)
    ints, floats, tensors = [], [], []
    out, _, statistics = torch.ops.regard.attention(query, query, query, ints, floats, tensors, 0)
    for wrong in (statistics[:1], statistics[:, :1], statistics[:, :, :1], statistics[0]):
        with pytest.raises(ValueError, match="statistics"):
            torch.ops.regard.attention_backward(
                out, None, query, query, query, out, wrong, ints, floats, tensors, 0, 0, 7
            )
