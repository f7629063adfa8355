"""The same bits with any number of PyTorch's threads, and whatever else is in the batch."""

import pytest
import regard
import torch


def _everything(q, k, v, bias, options):
    leaves = [x.clone().requires_grad_() for x in (q, k, v, bias)]
    out, lse = regard.attention(*leaves[:3], bias=leaves[3], return_lse=True, **options)
    return out, lse, *torch.autograd.grad((out, lse), leaves, (torch.ones_like(out), torch.ones_like(lse)))


@pytest.mark.parametrize("options", [dict(mask=regard.causal()), dict(softcap=3.0, mask=regard.window(100, 20))], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bits_do_not_depend_on_threads(options, dtype):
    q, k, v = (torch.randn(2, h, n, 40).to(dtype) for h, n in ((4, 333), (2, 470), (2, 470)))
    bias = torch.randn(1, 4, 333, 470)
    torch.set_num_threads(1)
    expected = _everything(q, k, v, bias, options)
    for threads in (2, 3, 5):
        torch.set_num_threads(threads)
        for a, b in zip(_everything(q, k, v, bias, options), expected, strict=True):
            assert torch.equal(a, b)


def test_bits_do_not_depend_on_the_rest_of_the_batch():
    q, k, v = (torch.randn(3, 4, 100, 32) * 8 for _ in range(3))
    out = regard.attention(q, k, v, mask=regard.causal())
    for b in range(3):
        assert torch.equal(out[b : b + 1], regard.attention(q[b : b + 1], k[b : b + 1], v[b : b + 1], mask=regard.causal()))


def test_one_row_alone_is_the_row_among_others():
    q, k, v = torch.randn(1, 2, 64, 32), torch.randn(1, 2, 700, 32), torch.randn(1, 2, 700, 32)
    out = regard.attention(q, k * 30, v)
    for row in (0, 17, 63):
        assert torch.equal(out[:, :, row : row + 1], regard.attention(q[:, :, row : row + 1], k * 30, v))
