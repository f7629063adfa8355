# SPDX-License-Identifier: Apache-2.0
"""What people type who come from other libraries: served, or an error that says what to write."""

import inspect
import itertools

import numpy
import oracle
import pytest
import regard
import torch

Q, K, V = (torch.randn(2, 4, n, 8) for n in (5, 7, 7))
ALLOWED = torch.rand(5, 7) > 0.4
SAME = torch.zeros(2, 3, dtype=torch.int64)


def attend(*more, **options):
    return regard.attention(Q, K, V, *more, **options)


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: bool(m),
        lambda m: m and regard.window(1, 0),
        lambda m: m or regard.window(1, 0),
        lambda m: not m,
        lambda m: 1 if m else 0,
    ],
)
@pytest.mark.parametrize("mask", [regard.causal(), ~regard.window(1, 0), regard.tensor(ALLOWED)])
def test_masks_have_no_truth_value(ask, mask):
    with pytest.raises(TypeError, match=r"no truth value.* a & b, a \| b or ~a"):
        ask(mask)


@pytest.mark.parametrize("kind", [lambda x: x, lambda x: x.numpy()], ids=["torch", "numpy"])
def test_masks_join_with_booleans(kind):
    booleans, dense = kind(ALLOWED), oracle.causal(5, 7)
    for mask, allowed in (
        (regard.causal() & booleans, dense & ALLOWED),
        (booleans & regard.causal(), dense & ALLOWED),
        (regard.causal() | booleans, dense | ALLOWED),
        (booleans | regard.causal(), dense | ALLOWED),
        (~(booleans & regard.causal()), ~(dense & ALLOWED)),
    ):
        assert isinstance(mask, regard.Mask)
        oracle.check_forward(attend(mask=mask), Q, K, V, allowed=allowed)
    oracle.check_forward(attend(mask=booleans), Q, K, V, allowed=ALLOWED)
    oracle.check_forward(attend(mask=regard.tensor(booleans)), Q, K, V, allowed=ALLOWED)


def test_masks_join_with_nothing_else():
    for other in (None, True, 3, "causal", [True]):
        with pytest.raises(TypeError, match="unsupported operand"):
            regard.causal() & other
        with pytest.raises(TypeError, match="unsupported operand"):
            other | regard.causal()
    with pytest.raises(ValueError, match=r"torch.float32; expected a tensor of dtype torch.bool"):
        regard.causal() & torch.zeros(5, 7)


def test_numpy_blocks():
    layout = torch.rand(3, 4) > 0.3
    assert torch.equal(
        attend(mask=regard.blocks(layout.numpy(), 2)), attend(mask=regard.blocks(layout, 2))
    )


MAKERS = [
    lambda: regard.causal(),
    lambda: regard.causal(0),
    lambda: regard.causal(3),
    lambda: regard.window(4, 0),
    lambda: regard.window(4, 0, 0),
    lambda: ~regard.window(4, 0),
    lambda: regard.causal() & regard.window(4, 0),
    lambda: regard.causal() | regard.window(4, 0),
    lambda: regard.window(4, 0) & regard.causal(),
    lambda: regard.key_lengths([3, 4]),
    lambda: regard.key_lengths([3, 5]),
    lambda: regard.prefix([3, 4]),
    lambda: regard.documents([0, 3, 4]),
    lambda: regard.tensor(ALLOWED.clone()),
    lambda: regard.tensor(~ALLOWED),
    lambda: regard.around(torch.arange(5.0), 2),
    lambda: regard.dilated(2, 2, [1, 2, 3, 4]),
    lambda: regard.tree([-1, 0, 0]),
]


def test_masks_made_alike_are_equal():
    for (i, a), (j, b) in itertools.product(enumerate(MAKERS), repeat=2):
        assert (a() == b()) is (i == j), (a(), b())
        assert (a() != b()) is (i != j)
    assert len({maker() for maker in MAKERS * 2}) == len(MAKERS)
    assert regard.key_lengths([3, 4]) == regard.key_lengths(torch.tensor([3, 4]).int())
    assert regard.causal() != 3 and regard.causal() is not None


def test_hash_outlives_a_change_in_place():
    lengths = torch.tensor([3, 4])
    mask = regard.key_lengths(lengths)
    known = {mask: 1}
    lengths[0] = 5
    assert known[mask] == 1 and mask != regard.key_lengths([3, 4])


def test_a_plan_takes_an_equal_mask():
    plan = regard.plan(regard.window(2, 0), batch=2, heads=4, len_q=5, len_k=7)
    assert torch.equal(attend(plan=plan, mask=regard.window(2, 0)), attend(plan=plan))
    with pytest.raises(ValueError, match="plan: a plan carries its own mask"):
        attend(plan=plan, mask=regard.window(3, 0))


WRITE = {
    "causal": (True, "write mask=regard.causal()"),
    "is_causal": (True, r"write mask=regard.causal\(0\)"),
    "attn_mask": (ALLOWED, "write mask= for booleans.* bias= for what is added"),
    "attention_mask": (ALLOWED, "write mask="),
    "key_padding_mask": (ALLOWED, "write mask=regard.key_lengths"),
    "dropout": (0.1, "write dropout_p="),
    "window_size": ((4, 0), r"write mask=regard.window\(left, right\)"),
    "sliding_window": (4, r"regard.window\(sliding_window - 1, 0\)"),
    "enable_gqa": (True, "write nothing"),
    "return_weights": (True, "write regard.attention_map"),
    "need_weights": (True, "write regard.attention_map"),
    "softmax_scale": (1.0, "write scale="),
    "return_softmax_lse": (True, "write return_lse=True"),
    "alibi_slopes": (torch.ones(4), r"write modifiers=regard.alibi\(slopes\)"),
    "attn_bias": (torch.ones(5, 7), "write bias="),
    "cu_seqlens_q": ([0, 5], 'layout="thd" with mask=regard.documents'),
    "modifer": ((), "write modifiers="),
    "masks": (None, "write mask="),
    "xyzzy": (1, "expected those of regard.attention: mask, score"),
}


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("function", [regard.attention, regard.attention_state])
def test_wrong_names_say_what_to_write(function, name):
    value, expected = WRITE[name]
    with pytest.raises(TypeError, match=f"{name}: no such option; .*{expected}"):
        function(Q, K, V, **{name: value})


def test_wrong_names_of_maps():
    with pytest.raises(TypeError, match=r"causal: no such option; write mask=regard.causal"):
        regard.attention_map(Q, K, causal=True)


def test_arguments_by_position():
    with pytest.raises(TypeError, match="after query, key and value, Mask; write mask="):
        attend(regard.causal())
    with pytest.raises(
        TypeError, match="after query, key and value, Tensor; write name=.* one of mask,"
    ):
        attend(ALLOWED)


def test_the_signature_shows_what_is_served():
    kinds = {p.kind for p in inspect.signature(regard.attention).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


MASKS = {
    "'causal'": ("causal", "mask: 'causal'; expected a mask"),
    "True": (True, "mask: True; expected a mask"),
    "the function": (regard.causal, r"mask: a function; .* mask=regard.causal\(\)"),
    "window itself": (regard.window, r"mask: a function; .* mask=regard.window\(\.\.\.\)"),
    "integers": (torch.ones(2, 7, dtype=torch.int64), "int64; expected torch.bool.* mask != 0"),
    "numpy floats": (numpy.zeros((5, 7)), "float64; expected torch.bool.* bias="),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_other_kinds_say_what_is_expected(name):
    mask, expected = MASKS[name]
    with pytest.raises(ValueError, match=expected):
        attend(mask=mask)


def test_none_is_none():
    assert torch.equal(attend(softcap=None), attend())
    assert torch.equal(
        attend(softcap=None, mask=regard.window(None, 0)), attend(mask=regard.window(-1, 0))
    )
    assert regard.window(2, None) == regard.window(2, -1)
    assert regard.dilated(None, 1, 2) == regard.dilated(-1, 1, 2)


def test_a_window_has_two_sides():
    with pytest.raises(TypeError, match=r"right: not given; write window\(3, 0\).*window\(3, 3\)"):
        regard.window(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_for_temperature_and_slopes(dtype):
    q, k, v = (x.to(dtype) for x in (Q, K, V))

    def out(modifier):
        return regard.attention(q, k, v, modifiers=modifier)

    for t in (0.5, 2, [0.5] * 4, numpy.float32(0.5), numpy.full(4, 2.0)):
        same = torch.as_tensor(t, dtype=torch.float64)
        assert torch.equal(out(regard.temperature(t)), out(regard.temperature(same)))
    oracle.check_forward(out(regard.temperature(0.5)), q, k, v, scale=2 / 8**0.5)
    slopes = [0.5, 0.25, 0.125, 0.0625]
    assert torch.equal(
        out(regard.alibi(numpy.array(slopes))), out(regard.alibi(torch.tensor(slopes)))
    )
    for wrong in (True, "warm", None, [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="temperature: "):
            regard.temperature(wrong)


def x(*shape, **options):
    return torch.zeros(*shape, **options)


SHAPES = {
    "heads": ((x(4, 5, 8), x(3, 7, 8), x(3, 7, 8)), {}, r"key: shape \(3, 7, 8\) has 3 heads"),
    "dim": ((x(5, 8), x(7, 9), x(7, 8)), {}, r"key: shape \(7, 9\) has dim 9; query has 8"),
    "dim, bshd": (
        (x(2, 5, 4, 8), x(2, 7, 4, 9), x(2, 7, 4, 8)),
        dict(layout="bshd"),
        r"key: shape \(2, 7, 4, 9\) has dim 9",
    ),
    "value, bshd": (
        (x(2, 5, 4, 8), x(2, 7, 4, 8), x(2, 6, 4, 3)),
        dict(layout="bshd"),
        r"value: shape \(2, 6, 4, 3\); expected \(2, 7, 4, 3\)",
    ),
    "value, thd": (
        (x(5, 4, 8), x(7, 2, 8), x(6, 2, 8)),
        dict(layout="thd", mask=regard.documents([0, 5], [0, 7])),
        r"value: shape \(6, 2, 8\); expected \(7, 2, 8\)",
    ),
    "value, deep": (
        (x(3, 2, 4, 5, 8), x(2, 4, 7, 8), x(1, 4, 6, 8)),
        {},
        r"value: shape \(1, 4, 6, 8\)",
    ),
    "bias": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(bias=x(5, 6)),
        r"bias: shape \(5, 6\); expected one that broadcasts to .* query \(4, 5, 8\)",
    ),
    "mask": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(mask=x(2, 6, dtype=torch.bool)),
        r"mask tensor: shape \(2, 6\); expected one that broadcasts",
    ),
    "around": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(mask=regard.around(x(6), 2)),
        r"around: centres of shape \(6,\); expected one that broadcasts",
    ),
    "blocks": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(mask=regard.blocks(x(9, 9, dtype=torch.bool), 2)),
        r"blocks: layout of shape \(9, 9\); expected",
    ),
    "temperature": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(modifiers=regard.temperature([1.0, 2.0])),
        r"temperature: shape \(2,\); expected one number, or \(heads,\)",
    ),
    "second alibi": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(modifiers=(regard.alibi(x(4)), regard.alibi(x(3)))),
        r"alibi\[1\]: shape \(3,\); expected \(heads,\)",
    ),
    "sinks": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(modifiers=regard.sinks(x(3))),
        r"sinks: shape \(3,\); expected \(heads, m\)",
    ),
    "additive": (
        (x(4, 5, 8), x(4, 7, 8), x(4, 7, 8)),
        dict(score=regard.additive(x(9))),
        r"score.v: shape \(9,\); expected \(dim,\)",
    ),
}


@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_the_users(name, needs_grad):
    inputs, options, expected = SHAPES[name]
    inputs = [t.clone().requires_grad_(needs_grad) for t in inputs]
    with pytest.raises(ValueError, match=expected):
        regard.attention(*inputs, **options)


DTYPES = {
    "integers": (torch.int64,) * 3,
    "booleans": (torch.bool,) * 3,
    "complex": (torch.complex64,) * 3,
    "bytes": (torch.uint8,) * 3,
    "float8": (torch.float8_e4m3fn,) * 3,
}


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_that_query_can_have(name):
    inputs = [t.to(d) for t, d in zip((Q, K, V), DTYPES[name], strict=True)]
    with pytest.raises(ValueError, match=r"query: torch\.\w+; expected torch.float32, .*float64$"):
        regard.attention(*inputs)
    with pytest.raises(ValueError, match="key: torch.float64; expected torch.float32, as query"):
        regard.attention(Q, K.double(), V.double())


LAYOUTS = {
    "nested": lambda: torch.nested.nested_tensor([x(4, 5, 8), x(4, 3, 8)]),
    "nested, jagged": lambda: torch.nested.nested_tensor(
        [x(5, 4, 8), x(3, 4, 8)], layout=torch.jagged
    ).transpose(1, 2),
    "sparse_coo": lambda: x(2, 4, 7, 8).to_sparse(),
    "sparse_csr": lambda: x(7, 8).to_sparse_csr(),
    "mkldnn": lambda: x(2, 4, 7, 8).to_mkldnn(),
}


@pytest.mark.parametrize("options", [{}, dict(softcap=2.0)], ids=str)
@pytest.mark.parametrize("at", [0, 1, 2], ids=["query", "key", "value"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_other_layouts_by_name(name, at, options):
    inputs = [Q, K, V]
    inputs[at] = LAYOUTS[name]()
    argument = ("query", "key", "value")[at]
    kind = "a nested tensor" if "nested" in name else f"a tensor of layout torch._?{name}"
    with pytest.raises(ValueError, match=f"{argument}: {kind}; expected a dense one"):
        regard.attention(*inputs, **options)
    if at < 2:
        with pytest.raises(ValueError, match=f"{argument}: {kind}"):
            regard.attention_map(*inputs[:2], **options)


def test_other_layouts_of_the_rest():
    sparse = torch.ones(5, 7).to_sparse()
    for options, expected in (
        (dict(bias=sparse), "bias: a tensor of layout torch.sparse_coo; expected a dense one"),
        (
            dict(mask=sparse.bool()),
            "allowed: a tensor of layout torch.sparse_coo; expected a dense one",
        ),
    ):
        with pytest.raises(ValueError, match=expected):
            attend(**options)
    with pytest.raises(ValueError, match="sinks: logits: a tensor of layout torch.sparse_coo"):
        regard.sinks(torch.ones(4).to_sparse())
