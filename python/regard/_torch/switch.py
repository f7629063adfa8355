# SPDX-License-Identifier: Apache-2.0
"""Whether PyTorch's attention runs here: a flag, which regard.enable() and its kin switch.

The kernels that look at it (enable.py, fast_path.py, jagged.py) are registered once, by the first
of these calls, and stay: PyTorch's dispatcher cannot take a kernel away while another thread may be
calling it. Switched off, they pass every call on to PyTorch's own."""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar

_everywhere = False
# Of this thread (or task): None, True or False.
_here: ContextVar[bool | None] = ContextVar("regard.enabled", default=None)
_own = _here.get

_registrations: list = []
_registered = False
_lock = threading.Lock()


def on():
    """The choice of the innermost regard.enabled() of this thread, or else that of enable()."""
    own = _own()
    return _everywhere if own is None else own


def at_first_use(register):
    """register() will be called once, before the flag is first switched on."""
    _registrations.append(register)
    return register


def _register():
    global _registered
    with _lock:
        if not _registered:
            for register in _registrations:
                register()
            _registered = True


def enable() -> None:
    """Routes scaled_dot_product_attention on CPU tensors here, in all threads, until disable();
    nested tensors, and the fast path of nn.MultiheadAttention and nn.TransformerEncoderLayer, too.

    May be called while other threads run; but the first call of a process registers kernels with
    PyTorch's dispatcher, and had better come before they start."""
    global _everywhere
    _register()
    _everywhere = True


def disable() -> None:
    """Undoes enable(), in all threads."""
    global _everywhere
    _everywhere = False


@contextlib.contextmanager
def enabled(choice: bool = True) -> Iterator[None]:
    """Regard (or with False: PyTorch alone) within the block, for this thread alone (and this
    asyncio task); what enable() and disable() chose holds again afterwards, and elsewhere."""
    if choice:
        _register()
    token = _here.set(bool(choice))
    try:
        yield
    finally:
        _here.reset(token)
