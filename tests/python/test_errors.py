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
    "mask of floats": ("allowed", (GOOD,) * 3, dict(mask=x(5, 5))),
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
