# SPDX-License-Identifier: Apache-2.0
"""regard.enable() as a switch: threads keep their own choice, nothing is registered twice, and what
PyTorch offers beside (its fast path, sdpa_kernel, decompositions) works as without."""

import subprocess
import sys
import textwrap
import threading

import pytest
import regard
import torch
import torch.nn.functional as F
from kernel_calls import kernel_calls
from torch.nn.attention import SDPBackend, sdpa_kernel


def _served():
    regard.report(reset=True)
    F.scaled_dot_product_attention(*(torch.randn(1, 2, 3, 4),) * 3)
    return regard.report().served == 1


def _in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_a_block_chooses_for_its_own_thread():
    with regard.enabled():
        assert _served() and not _in_a_thread(_served)
    regard.enable()
    try:
        with regard.enabled(False):
            assert not _served() and _in_a_thread(_served)
            with regard.enabled():
                assert _served()
        assert _served()
    finally:
        regard.disable()
    assert not _served() and not _in_a_thread(_served)


# In a process of its own: what is tested is that it ends at all.
TOGGLE = """
    import threading
    import torch
    import torch.nn.functional as F
    import regard

    q = torch.randn(1, 2, 5, 8)
    regard.enable()
    regard.disable()
    stop, wrong = [], []


    def work():
        while not stop:
            x = q.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.scaled_dot_product_attention(x, q, q).sum(), x)
            if not gradient.abs().max() > 0:
                wrong.append(gradient)


    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        with regard.enabled():
            pass
    for _ in range(3000):
        regard.enable()
        regard.disable()
    stop.append(True)
    for thread in threads:
        thread.join()
    assert not wrong
    print("the end")
"""


def test_switching_while_other_threads_run():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TOGGLE)], capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == "the end\n", run.stderr[-3000:]


@pytest.mark.parametrize("owned", [True, False])
def test_the_fast_path_flag_is_its_owners(owned):
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(owned)
    try:
        with regard.enabled():
            assert torch.backends.mha.get_fastpath_enabled() is owned
            torch.backends.mha.set_fastpath_enabled(not owned)
        assert torch.backends.mha.get_fastpath_enabled() is not owned
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def _tensors(dtype=torch.float64):
    return [torch.randn(2, 4, n, 8, dtype=dtype, requires_grad=True) for n in (5, 7, 7)]


def test_sdpa_kernel_math_is_obeyed_and_has_a_second_derivative():
    q, k, v = _tensors()
    regard.report(reset=True)
    with regard.enabled(), sdpa_kernel(SDPBackend.MATH), kernel_calls() as calls:
        out = F.scaled_dot_product_attention(q, k, v)
        (first,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), q)
    assert second.abs().max() > 0 and calls.forward == 0 and calls.pytorch >= 1
    reason = "torch.nn.attention.sdpa_kernel without FLASH_ATTENTION"
    assert regard.report() == (0, {reason: 1})
    with regard.enabled(), sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert _served()


def test_a_backend_that_a_cpu_lacks_is_pytorchs_error():
    q, k, v = _tensors()
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION), pytest.raises(RuntimeError) as expected:
        F.scaled_dot_product_attention(q, k, v)
    with (
        regard.enabled(),
        sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION),
        pytest.raises(RuntimeError) as actual,
    ):
        F.scaled_dot_product_attention(q, k, v)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


class Attention(torch.nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_decompositions_of_an_exported_program_are_those_without():
    inputs = tuple(x.detach() for x in _tensors())

    def operators():
        program = torch.export.export(Attention(), inputs).run_decompositions()
        return [str(node.target) for node in program.graph.nodes]

    expected = operators()
    assert "aten._softmax.default" in expected
    with regard.enabled():
        assert operators() == expected
    assert operators() == expected


def test_inference_mode_runs_here():
    inputs = _tensors(torch.float32)
    compiled = torch.compile(Attention(), backend="aot_eager", fullgraph=True)
    with regard.enabled(), torch.inference_mode():
        compiled(*inputs)
        with kernel_calls() as calls:
            F.scaled_dot_product_attention(*inputs)
            compiled(*inputs)
    assert calls.forward == 2 and calls.pytorch == 0


@pytest.mark.parametrize("mask", [torch.bfloat16, torch.float64, torch.int32], ids=str)
def test_masks_of_a_dtype_that_pytorch_refuses_are_refused(mask):
    q, k, v = (x.float() for x in _tensors())
    bias = torch.zeros(5, 7, dtype=mask)
    with pytest.raises(RuntimeError) as expected:
        F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    with regard.enabled(), pytest.raises(RuntimeError) as actual:
        F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_float32_masks_serve_every_dtype(dtype):
    q, k, v = (x.to(dtype) for x in _tensors())
    bias = torch.randn(5, 7)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    with regard.enabled(), kernel_calls() as calls:
        actual = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert calls.forward == 1 and calls.pytorch == 0
    torch.testing.assert_close(
        actual,
        expected,
        rtol=2e-2 if dtype is torch.bfloat16 else 1e-5,
        atol=2e-2 if dtype is torch.bfloat16 else 1e-5,
    )


@pytest.mark.parametrize("boolean", [True, False])
def test_a_mask_together_with_is_causal(boolean):
    q, k, v = _tensors()
    mask = torch.rand(2, 1, 5, 7) > 0.4 if boolean else torch.randn(2, 1, 5, 7, dtype=q.dtype)
    if boolean:
        mask[..., 0] = True
    options = dict(attn_mask=mask, is_causal=True)
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    with regard.enabled(), kernel_calls() as calls:
        actual = F.scaled_dot_product_attention(q, k, v, **options)
        gradients = torch.autograd.grad(actual.square().sum(), (q, k, v))
    assert calls.forward == 1 and calls.backward == 1 and calls.pytorch == 0
    torch.testing.assert_close(actual, expected)
    wanted = torch.autograd.grad(expected.square().sum(), (q, k, v))
    torch.testing.assert_close(gradients, wanted)
