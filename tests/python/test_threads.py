# SPDX-License-Identifier: Apache-2.0
"""As many threads as PyTorch has; the same bits with any number of them, and whatever else is in
the batch."""

import ctypes
import subprocess

import pytest
import regard
import torch

COUNTER = """
#include <pthread.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t found[64];
static int count, wanted;

void start(int threads) { count = 0, wanted = threads; }
int threads_found(void) { return count; }

static int number(void) {
  pthread_mutex_lock(&lock);
  int known = 0;
  for (int i = 0; i < count; ++i) known |= pthread_equal(found[i], pthread_self());
  if (!known && count < 64) found[count++] = pthread_self();
  const int now = count;
  pthread_mutex_unlock(&lock);
  return now;
}

/* A function over tiles that changes nothing: it waits, two seconds at the most, until so many
   threads have come. */
void meet(const void* tile, void* context) {
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while (number() < wanted && now.tv_sec - begin.tv_sec < 2);
}
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    subprocess.run(
        [
            "cc",
            "-O1",
            "-shared",
            "-fPIC",
            folder / "counter.c",
            "-o",
            folder / "counter.so",
            "-pthread",
        ],
        check=True,
    )
    return ctypes.CDLL(str(folder / "counter.so"))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_set_num_threads_is_honoured(counter, threads):
    torch.set_num_threads(threads)
    meet = ctypes.cast(counter.meet, ctypes.c_void_p).value
    q, k, v = (torch.randn(2, 8, 300, 16, requires_grad=True) for _ in range(3))
    counter.start(threads)
    out = regard.attention(q, k, v, modifiers=regard.function(meet, meet))
    assert counter.threads_found() == threads
    counter.start(threads)
    out.sum().backward()
    assert counter.threads_found() == threads


def _everything(q, k, v, bias, options):
    leaves = [x.clone().requires_grad_() for x in (q, k, v, bias)]
    out, lse = regard.attention(*leaves[:3], bias=leaves[3], return_lse=True, **options)
    return (
        out,
        lse,
        *torch.autograd.grad((out, lse), leaves, (torch.ones_like(out), torch.ones_like(lse))),
    )


@pytest.mark.parametrize(
    "options", [dict(mask=regard.causal()), dict(softcap=3.0, mask=regard.window(100, 20))], ids=str
)
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
        assert torch.equal(
            out[b : b + 1],
            regard.attention(q[b : b + 1], k[b : b + 1], v[b : b + 1], mask=regard.causal()),
        )


@pytest.mark.parametrize("count", [1, 5])
def test_rows_alone_are_the_rows_among_others(count):
    """Among as many others as take the same pass: up to four queries take the decode pass."""
    others = 4 if count == 1 else 64
    q = torch.randn(1, 2, others, 32)
    k, v = torch.randn(1, 2, 700, 32), torch.randn(1, 2, 700, 32)
    out = regard.attention(q, k * 30, v)
    for row in (0, others // 3, others - count):
        alone = slice(row, row + count)
        assert torch.equal(out[:, :, alone], regard.attention(q[:, :, alone], k * 30, v))
