# SPDX-License-Identifier: Apache-2.0
"""The tensors and numbers that the lines of docs/mechanisms.md name, at any size."""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import regard
import torch
from harness.paths import built


@dataclass(frozen=True)
class Size:
    n: int
    heads: int = 8
    dim: int = 64
    near: int = 128  # keys on a side of a window
    block: int = 64
    window: tuple[int, int] = (12, 12)  # rows and columns of Swin's
    rows: Callable[..., torch.Tensor] = torch.randn  # makes queries, keys and values of a shape

    def but(self, **changes) -> "Size":
        return replace(self, **changes)


def _rows(size: Size, len_q: int | None = None, batch: int = 1, len_k: int | None = None) -> dict:
    shapes = [(batch, size.heads, n or size.n, size.dim) for n in (len_q, len_k, len_k)]
    return dict(zip("qkv", (size.rows(shape) for shape in shapes), strict=True))


def _function() -> dict:
    library = ctypes.CDLL(str(built("libregard_bench_function.so")))
    return {
        name: ctypes.cast(getattr(library, f"regard_bench_{name}"), ctypes.c_void_p).value
        for name in ("apply", "derive")
    }


def _tree(nodes: int) -> list[int]:
    """Each node has two children, but the last levels hang together as a chain."""
    return [(i - 1) // 2 if i < nodes // 2 else i - 1 if i % 4 else i // 4 for i in range(nodes)]


def _lengths(n: int) -> torch.Tensor:
    return torch.tensor([round(n * share) for share in (0.625, 1.0, 0.25, 0.5)])


def _documents(n: int) -> torch.Tensor:
    """Five of them, of different lengths."""
    return torch.tensor(
        [round(n * share) for share in (0, 0.3, 0.45, 0.5, 0.8, 1)], dtype=torch.int32
    )


def _centres(size: Size) -> torch.Tensor:
    """Where queries look: predicted as p = len_k * sigmoid(...), so any real number; here they
    drift along the keys."""
    at = torch.linspace(-2, 2, size.n)
    waves = torch.arange(1, size.heads + 1)[:, None]
    return (size.n * torch.sigmoid(at + torch.sin(3 * at * waves) / 2))[None]


def _layout(blocks: int) -> torch.Tensor:
    """One block in eight, and the diagonal: no query is left without a key."""
    return (torch.rand(blocks, blocks) < 0.125) | torch.eye(blocks, dtype=torch.bool)


def _random(*shape: int, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(shape) * spread


def inputs(name: str, size: Size) -> SimpleNamespace:
    """Everything that the page's line for this mechanism names, q, k and v among it. The same
    for the same torch random state."""
    heads, n, dim, near = size.heads, size.n, size.dim, size.near
    quarter = max(1, n // 4)
    tokens = torch.tensor([0, n // 3, n // 3 + 1, 2 * n // 3])
    table = {
        "additive": lambda: _rows(size) | {"w": _random(dim, spread=4 / math.sqrt(dim))},
        "luong_general": lambda: (
            _rows(size)
            | {"w": torch.eye(dim) / 8 + _random(dim, dim, spread=0.05 / math.sqrt(dim))}
        ),
        "luong_dot": lambda: {
            a: x / math.sqrt(math.sqrt(dim)) if a in "qk" else x for a, x in _rows(size).items()
        },
        "luong_concat": lambda: (
            _rows(size)
            | {
                "w": _random(dim, 2 * dim, spread=1 / math.sqrt(dim)),
                "u": _random(dim, spread=4 / math.sqrt(dim)),
            }
        ),
        "luong_location": lambda: (
            {a: x for a, x in _rows(size).items() if a != "k"} | {"w": size.rows((n, dim)) / 8}
        ),
        "temperature": lambda: _rows(size) | {"t": torch.linspace(0.3, 2.0, heads)},
        "softcap": lambda: _rows(size) | {"cap": 2.0},
        "bias": lambda: (
            _rows(size)
            | {
                "bias": size.rows((1, heads, n, 8))
                @ size.rows((1, heads, n, 8)).transpose(2, 3)
                / 4
            }
        ),
        "alibi": lambda: _rows(size) | {"slopes": regard.alibi_slopes(heads)},
        "t5_bias": lambda: _rows(size) | {"n": n, "table": _random(32, heads, spread=2)},
        "swin_bias": lambda: (
            _rows(size.but(n=math.prod(size.window)), batch=max(1, n // math.prod(size.window)))
            | {
                "height": size.window[0],
                "width": size.window[1],
                "table": _random(
                    (2 * size.window[0] - 1) * (2 * size.window[1] - 1), heads, spread=2
                ),
            }
        ),
        "function": lambda: _rows(size) | _function(),
        "sinks": lambda: _rows(size) | {"logits": _random(heads, 2) + math.log(n) / 2},
        "multiplier": lambda: (
            _rows(size) | {"g": torch.sigmoid(_random(1, heads, n, 1) + torch.linspace(-4, 4, n))}
        ),
        "gaussian": lambda: _rows(size) | {"centre": _centres(size), "sigma": near / 2},
        "causal": lambda: _rows(size, len_q=n // 2),
        "window": lambda: _rows(size) | {"left": 2 * near - 1},
        "local_m": lambda: _rows(size) | {"width": near},
        "local_p": lambda: _rows(size) | {"centre": _centres(size), "width": near},
        "dilated": lambda: _rows(size) | {"left": near // 2, "right": near // 2},
        "global_tokens": lambda: _rows(size) | {"width": near, "tokens": tokens},
        "blocks": lambda: (
            _rows(size) | {"block": size.block, "layout": _layout(-(-n // size.block))}
        ),
        "bigbird": lambda: _rows(size) | {"block": size.block},
        "documents": lambda: (
            {a: x[0].transpose(0, 1).contiguous() for a, x in _rows(size).items()}
            | {"cu": _documents(n)}
        ),
        "prefix": lambda: _rows(size) | {"lengths": torch.tensor([quarter])},
        "key_lengths": lambda: (
            _rows(size.but(n=max(4, n // 2)), batch=4) | {"lengths": _lengths(max(4, n // 2))}
        ),
        "tree": lambda: (
            _rows(size, len_q=min(64, quarter)) | {"parents": torch.tensor(_tree(min(64, quarter)))}
        ),
        "tensor": lambda: _rows(size) | {"allowed": torch.rand(n, n) < 0.5},
        "composition": lambda: _rows(size) | {"width": near, "tokens": tokens},
        "complement": lambda: _rows(size) | {"width": near},
    }
    return SimpleNamespace(regard=regard, **table.get(name, lambda: _rows(size))())
