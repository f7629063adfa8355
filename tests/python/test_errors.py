"""What a caller got wrong is a ValueError that names the argument; what is not served yet is a NotImplementedError that names it."""

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
    "cu_seqlens that fall": ("cu_q", (x(6, 4, 8),) * 3, dict(layout="thd", mask=regard.documents([0, 4, 2]))),
    "cu_seqlens past the end": ("cu_q", (x(6, 4, 8),) * 3, dict(layout="thd", mask=regard.documents([0, 9]))),
    "dropout_p": ("dropout_p", (GOOD,) * 3, dict(dropout_p=1.5)),
}


@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("name", WRONG)
def test_mistakes_name_their_argument(name, needs_grad):
    argument, inputs, options = WRONG[name]
    if needs_grad:
        inputs = [t.clone().requires_grad_() if isinstance(t, torch.Tensor) and t.is_floating_point() else t for t in inputs]
    with pytest.raises(ValueError, match=argument):
        regard.attention(*inputs, **options)


@pytest.mark.parametrize("make", [lambda: regard.window(-2, 0), lambda: regard.key_lengths(3.5), lambda: regard.documents([[0, 1]])])
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
    inputs = [x(*shape).to("meta").requires_grad_(needs_grad) for shape in ((1, 4, 5, 8), (3, 2, 6, 8), (2, 6, 8))]
    out = regard.attention(*inputs)
    assert out.is_meta and out.shape == (3, 4, 5, 8)
    if needs_grad:
        assert [g.shape for g in torch.autograd.grad(out.sum(), inputs)] == [t.shape for t in inputs]


def test_unknown_target():
    with pytest.raises(ValueError, match="abacus"):
        regard.set_target("abacus")


NOT_NUMBERS = {
    "causal, half a position": ("causal: offset is 1.5", lambda: regard.causal(1.5)),
    "causal, a text": ("causal: offset is 'a'", lambda: regard.causal("a")),
    "causal, beyond 64 bits": ("causal: offset is", lambda: regard.causal(2**70)),
    "window, nan": ("window: left is nan", lambda: regard.window(float("nan"), 0)),
    "window, beyond 64 bits": ("window: left is", lambda: regard.window(2**70, 0)),
    "window, offset": ("window: offset is 0.5", lambda: regard.window(1, 0, 0.5)),
    "blocks, a text": ("block_size: ", lambda: regard.blocks(x(2, 2, dtype=torch.bool), ("a", 2))),
    "scale, a text": ("scale: str; expected a number", lambda: regard.attention(GOOD, GOOD, GOOD, scale="a")),
    "scale, too large": ("scale", lambda: regard.attention(GOOD, GOOD, GOOD, scale=1e300)),
    "scale with a gradient": ("scale: .*temperature", lambda: regard.attention(GOOD, GOOD, GOOD, scale=torch.ones((), requires_grad=True))),
    "softcap, a text": ("softcap: str", lambda: regard.attention(GOOD, GOOD, GOOD, softcap="a")),
    "plan": ("plan: int; expected what regard.plan", lambda: regard.attention(GOOD, GOOD, GOOD, plan=3)),
    "modifiers": ("modifiers: int; expected a tuple", lambda: regard.attention(GOOD, GOOD, GOOD, modifiers=3)),
    "seed, a text": ("seed: str; expected an int", lambda: regard.attention(GOOD, GOOD, GOOD, dropout_p=0.5, seed="a")),
    "seed, two": ("seed: torch.int64, shape", lambda: regard.attention(GOOD, GOOD, GOOD, dropout_p=0.5, seed=torch.tensor([1, 2]))),
    "mask of floats": ("mask: a tensor of torch.float32", lambda: regard.attention(GOOD, GOOD, GOOD, mask=x(5, 5))),
    "bias of 5 dimensions": ("bias", lambda: regard.attention(GOOD, GOOD, GOOD, bias=x(1, 1, 1, 5, 5))),
}


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_what_is_not_such_a_value(name):
    expected, call = NOT_NUMBERS[name]
    with pytest.raises(ValueError, match=expected) as error:
        call()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("heads", [(0, 4), (0, 0)], ids=str)
@pytest.mark.parametrize("needs_grad", [False, True], ids=["no grad", "grad"])
def test_no_query_heads(heads, needs_grad):
    query, key, value = (x(2, h, n, 8).requires_grad_(needs_grad) for h, n in ((heads[0], 5), (heads[1], 7), (heads[1], 7)))
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
            torch.ops.regard.attention_backward(out, None, query, query, query, out, wrong, ints, floats, tensors, 0, 0, 7)
