# SPDX-License-Identifier: Apache-2.0
"""regard.enable(): gradients with and without it on every road, counting that Regard was really
called; what goes to PyTorch, and why."""

import subprocess
import sys
import textwrap

import pytest
import regard
import torch
import torch.nn.functional as F
from kernel_calls import kernel_calls
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

INPUTS = {  # query, key, value, attn_mask
    "plain": ((2, 4, 9, 8), (2, 4, 13, 8), (2, 4, 13, 6), None),
    "rank 3": ((4, 9, 8), (4, 13, 8), (4, 13, 8), None),
    "rank 2": ((9, 8), (13, 8), (13, 8), None),
    "rank 5": ((3, 2, 4, 9, 8), (3, 2, 4, 13, 8), (3, 2, 4, 13, 8), None),
    "broadcast": ((4, 9, 8), (2, 1, 13, 8), (2, 4, 13, 8), None),
    "bias": ((2, 4, 9, 8), (2, 4, 13, 8), (2, 4, 13, 8), (1, 4, 9, 13)),
    "bias of rank 2": ((2, 4, 9, 8), (2, 4, 13, 8), (2, 4, 13, 8), (9, 13)),
}


def draw(name, dtype=torch.float64):
    return [
        None if s is None else torch.randn(s, dtype=dtype, requires_grad=True) for s in INPUTS[name]
    ]


def sdpa(*inputs, **options):
    q, k, v, mask = inputs
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **options)


def step(function, inputs, d_out=None):
    """The output, and the gradients of what needs one."""
    out = function(*inputs)
    leaves = [x for x in inputs if x is not None]
    return out, torch.autograd.grad(out, leaves, torch.ones_like(out) if d_out is None else d_out)


def same_step(function, inputs):
    """Compares a step in Regard with one in PyTorch, and sees to it that it ran there."""
    expected = function(*inputs)
    d_out = torch.randn_like(expected)
    _, wanted = step(function, inputs, d_out)
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        out, gradients = step(function, inputs, d_out)
    assert regard.report() == (1, {})
    assert calls.forward >= 1 and calls.backward >= 1 and calls.pytorch == 0
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, wanted)
    assert all(g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("options", [{}, dict(is_causal=True), dict(scale=0.4)], ids=str)
@pytest.mark.parametrize("name", INPUTS)
def test_eager(name, options):
    inputs = draw(name)
    if "is_causal" in options and inputs[3] is not None:
        del options["is_causal"]
    same_step(lambda *x: sdpa(*x, **options), inputs)


def test_grouped_heads():
    inputs = [torch.randn(2, h, 9, 8, dtype=torch.float64, requires_grad=True) for h in (6, 2, 2)]
    same_step(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), inputs)


@pytest.mark.parametrize("shape", [(2, 1, 1, 13), (9, 13), (2, 4, 9, 13), (4, 1, 13)], ids=str)
def test_boolean_mask(shape):
    allowed = torch.rand(shape) > 0.3
    allowed[..., 0] = True
    q, k, v, _ = draw("plain")
    same_step(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed), (q, k, v))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["plain", "bias"])
def test_checkpointing(name, reentrant):
    inputs = draw(name)
    expected, wanted = step(sdpa, inputs)
    leaves = [None if x is None else x.detach().clone().requires_grad_() for x in inputs]
    regard.report(reset=True)
    with regard.enabled(), kernel_calls() as calls:
        out = checkpoint(sdpa, *leaves, use_reentrant=reentrant)
        out.sum().backward()
    assert (
        calls.forward >= 2 and calls.backward >= 1 and calls.pytorch == 0
    )  # forward again in backward
    assert not regard.report().declined
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(tuple(x.grad for x in leaves if x is not None), wanted)


FUNC = {  # what is made of a loss, and how many calls of it run here
    "grad": (lambda loss, x: torch.func.grad(loss, (0, 1, 2))(*x), 1),
    "grad of grad": (
        lambda loss, x: torch.func.grad(lambda q: torch.func.grad(loss)(q, *x[1:]).square().sum())(
            x[0]
        ),
        1,
    ),
    "vmap of grad": (lambda loss, x: torch.func.vmap(torch.func.grad(loss, (0, 1, 2)))(*x), 1),
    "grad of vmap": (
        lambda loss, x: torch.func.grad(lambda q: torch.func.vmap(loss)(q, *x[1:]).sum())(x[0]),
        0,
    ),
}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", FUNC)
def test_torch_func(name, masked):
    """PyTorch takes apart what vmap calls before it looks at kernels; the rest runs here."""
    call, count = FUNC[name]
    inputs = [x.detach() for x in draw("plain")[:3]]
    bias = torch.randn(9, 13, dtype=torch.float64)
    options = dict(attn_mask=bias) if masked else dict(is_causal=True)

    def loss(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **options).square().sum()

    with sdpa_kernel(SDPBackend.MATH):
        expected = call(loss, inputs)
    regard.report(reset=True)
    with regard.enabled():
        actual = call(loss, inputs)
    torch.testing.assert_close(actual, expected)
    assert regard.report() == (count, {})


def test_forward_mode_stays_with_pytorch():
    """Regard's operators have no tangents: served here, the call would lose them without an
    error."""
    q, k, v, _ = (x if x is None else x.detach() for x in draw("plain"))
    tangent, bias = (
        torch.randn_like(q),
        torch.zeros(9, 13, dtype=q.dtype, requires_grad=True),
    )  # with which PyTorch has forward mode

    def derivative():
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(
                sdpa(forward_ad.make_dual(q, tangent), k, v, bias)
            ).tangent.detach()

    expected = derivative()
    regard.report(reset=True)
    with regard.enabled():
        torch.testing.assert_close(derivative(), expected)
        assert regard.report() == (0, {"inside forward-mode differentiation": 1})


def test_no_grad_and_inference_mode():
    inputs = draw("plain")
    expected = sdpa(*inputs)
    with regard.enabled():
        for context in (torch.no_grad, torch.inference_mode):
            with context(), kernel_calls() as calls:
                torch.testing.assert_close(sdpa(*inputs), expected)
            assert calls.forward >= 1 and calls.pytorch == 0


def test_autocast_with_gradients():
    inputs = [torch.randn(2, 4, 9, 8, requires_grad=True) for _ in range(3)]
    regard.report(reset=True)
    with regard.enabled(), torch.autocast("cpu", torch.bfloat16):
        out = F.scaled_dot_product_attention(*inputs)
    assert out.dtype == torch.bfloat16 and regard.report().served == 1
    gradients = torch.autograd.grad(out.float().square().sum(), inputs)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*inputs).square().sum(), inputs)
    torch.testing.assert_close(gradients, expected, rtol=0.1, atol=0.05)


def test_parameters_and_subclasses():
    class Named(torch.Tensor):
        pass

    q, k, v, _ = draw("plain")
    expected = sdpa(q, k, v, None)
    regard.report(reset=True)
    with regard.enabled():
        torch.testing.assert_close(
            sdpa(*(torch.nn.Parameter(x.detach()) for x in (q, k, v)), None), expected
        )
        torch.testing.assert_close(
            torch.Tensor(sdpa(*(x.detach().as_subclass(Named) for x in (q, k, v)), None)), expected
        )
    assert regard.report() == (2, {})


def _x(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype)


Q = (2, 4, 9, 8)
DECLINED = {
    "head dim outside 1 to 512": ((_x(1, 1, 3, 600),) * 3, {}),
    "value's head dim outside 1 to 2048": (
        (_x(1, 1, 3, 16), _x(1, 1, 3, 16), _x(1, 1, 3, 2100)),
        {},
    ),
    "heads that do not divide": ((_x(*Q), _x(2, 2, 9, 8), _x(2, 1, 9, 8)), dict(enable_gqa=True)),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_what_is_not_covered_goes_to_pytorch_and_is_reported(reason):
    inputs, options = DECLINED[reason]
    torch.manual_seed(1)
    expected = F.scaled_dot_product_attention(*inputs, **options)
    regard.report(reset=True)
    torch.manual_seed(1)
    with regard.enabled():
        actual = F.scaled_dot_product_attention(*inputs, **options)
    assert torch.equal(actual.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert regard.report() == (0, {reason: 1})
    assert f"1 calls ran in PyTorch: {reason}" in str(regard.report())


WRONG = {
    "dtypes": ((_x(*Q), _x(*Q).double(), _x(*Q)), {}),
    "key's dim": ((_x(*Q), _x(2, 4, 9, 7), _x(*Q)), {}),
    "grouped without asking": ((_x(*Q), _x(2, 2, 9, 8), _x(2, 2, 9, 8)), {}),
    "mask's shape": ((_x(*Q),) * 3, dict(attn_mask=torch.ones(5, 9, dtype=torch.bool))),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_pytorchs_to_name(name):
    inputs, options = WRONG[name]
    with pytest.raises(Exception) as expected:
        F.scaled_dot_product_attention(*inputs, **options)
    with regard.enabled(), pytest.raises(type(expected.value)) as actual:
        F.scaled_dot_product_attention(*inputs, **options)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


def _served():
    regard.report(reset=True)
    F.scaled_dot_product_attention(*(torch.randn(1, 2, 3, 4),) * 3)
    return regard.report().served == 1


def test_enable_disable_and_nesting():
    assert not _served()
    regard.enable()
    regard.enable()
    assert _served()
    with regard.enabled():
        assert _served()
    assert _served()
    regard.disable()
    regard.disable()
    assert not _served()
    with pytest.raises(KeyError), regard.enabled():
        assert _served()
        raise KeyError
    assert not _served()


# The road that loses gradients without an error is compile (None) and func.grad (0) in a process
# where nothing ran before.
FRESH = """
    import torch
    import torch.nn.functional as F
    import regard
    from kernel_calls import kernel_calls

    torch.manual_seed(0)
    inputs = [torch.randn(2, 4, 9, 8, requires_grad=True) for _ in range(3)]


    def loss(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).square().sum()


    regard.enable()
    gradients = torch.func.grad(loss, (0, 1, 2))(*(x.detach() for x in inputs))
    compiled = torch.compile(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        fullgraph=True,
        backend="BACKEND",
    )
    torch.autograd.grad(compiled(*inputs).square().sum(), inputs)
    with kernel_calls() as calls:
        by_compile = torch.autograd.grad(compiled(*inputs).square().sum(), inputs)
    assert calls.forward >= 1 and calls.backward >= 1 and calls.pytorch == 0, calls
    regard.disable()
    expected = torch.autograd.grad(loss(*inputs), inputs)
    assert all(g.abs().max() > 0 for g in expected)
    torch.testing.assert_close(by_compile, expected)
    torch.testing.assert_close(gradients, expected)
    print("the same")
"""


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_gradients_in_a_fresh_process(backend):
    program = textwrap.dedent(FRESH).replace("BACKEND", backend)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=__file__.rsplit("/", 1)[0],
    )
    assert run.returncode == 0 and run.stdout.endswith("the same\n"), run.stderr[-3000:]
