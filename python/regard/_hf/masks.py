# SPDX-License-Identifier: Apache-2.0
"""Masks of transformers as masks of Regard: causal, sliding windows, padding and packed sequences
keep their parameters, and no n x n matrix is made."""

import operator
from functools import partial, reduce

import torch
from transformers import masking_utils
from transformers.masking_utils import eager_mask, sdpa_mask

from ..masks import NONE, causal, documents, key_lengths, tensor, window
from .carried import CarriedMask
from .exceptions import FLOAT_MASKS, SHORTENED

_PACKED = "packed_sequence_mask_function.<locals>.inner_mask"


def _closure(function):
    cells = function.__closure__ or ()
    return dict(
        zip(function.__code__.co_freevars, (cell.cell_contents for cell in cells), strict=True)
    )


def _parts(function):
    """The functions that an expression of and_masks joins."""
    if function.__qualname__ == "and_masks.<locals>.and_mask":
        return [part for each in _closure(function)["mask_functions"] for part in _parts(each)]
    if function.__qualname__ == "remap_positions_for_packed_sequence.<locals>.inner_mask":
        # Beside the function of the packed sequences: there masks of Regard count within each
        # document of themselves.
        return _parts(_closure(function)["mask_function"])
    return [function]


def _as_mask(function, offset):
    """The mask that a mask function of transformers stands for, NONE for one that hides nothing, or
    None for one not known here."""
    if function is masking_utils.causal_mask_function:
        return causal(offset)
    if function is masking_utils.bidirectional_mask_function:
        return NONE
    if function.__qualname__ == "sliding_window_overlay.<locals>.inner_mask":
        return window(
            int(_closure(function)["sliding_window"]) - 1, -1, offset
        )  # that many keys in all, the query's own included
    if function.__qualname__ == "sliding_window_bidirectional_overlay.<locals>.inner_mask":
        size = int(_closure(function)["sliding_window"])
        return window(size, size, offset)
    if function.__qualname__ == _PACKED:
        return _documents(_closure(function)["packed_sequence_mask"])
    return None


def _documents(numbers):
    """(1, seq), each token's sequence by number, as a mask; None for a batch, whose rows are packed
    each in its own way."""
    if numbers.shape[0] != 1:
        return None
    (starts,) = torch.nonzero(torch.diff(numbers[0]), as_tuple=True)
    return documents([0, *(starts + 1).tolist(), numbers.shape[1]])


def _padding(attention_mask, kv_length, kv_offset):
    """(batch, len_k) as a mask; None where nothing is padded."""
    if attention_mask is None:
        return None
    allowed = masking_utils.prepare_padding_mask(attention_mask, kv_length, kv_offset)[
        :, kv_offset : kv_offset + kv_length
    ]
    if bool(allowed.all()):
        return None
    lengths = allowed.sum(-1)
    if bool((allowed == (torch.arange(kv_length) < lengths[:, None])).all()):
        return key_lengths(lengths)
    return tensor(allowed[:, None, None, :])


def regard_mask(
    batch_size,
    q_length,
    kv_length,
    q_offset=0,
    kv_offset=0,
    mask_function=masking_utils.causal_mask_function,
    attention_mask=None,
    allow_is_causal_skip=True,
    allow_is_bidirectional_skip=False,
    **kwargs,
):
    """What transformers asks for a mask: a CarriedMask, or, where that cannot be (custom functions,
    blockwise patterns, batches of packed rows, compiled models), a boolean tensor.

    Never None (but for SHORTENED), whatever may be skipped: "no mask" would leave causality to what
    a module says of itself, which not every module does, nor each of them rightly; and a model
    would meet one thing in a batch without padding and another in one with."""
    if isinstance(
        attention_mask, CarriedMask
    ):  # generate() makes a static cache's masks ahead of the model
        return attention_mask
    model_type = getattr(kwargs.get("config"), "model_type", None)
    floats = model_type in FLOAT_MASKS
    build = partial(
        eager_mask if floats else sdpa_mask,
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        allow_is_causal_skip=False,
        allow_is_bidirectional_skip=False,
        **kwargs,
    )
    if floats or not _can_be_carried(attention_mask, q_offset, q_length, kwargs):
        return build()
    offset = int(q_offset) - int(kv_offset)
    found = [_as_mask(part, offset) for part in _parts(mask_function)]
    if kwargs.get("use_vmap") or 0 in (batch_size, q_length) or None in found:
        return CarriedMask.of(build())
    padding = _padding(attention_mask, kv_length, int(kv_offset))
    whole = _all_of(found if padding is None else [*found, padding])
    if whole is NONE and model_type in SHORTENED:
        return None
    packed = any(part.__qualname__ == _PACKED for part in _parts(mask_function))
    plain = padding is None and not packed and offset == 0 and q_length == kv_length
    shape = (batch_size, 1, q_length, kv_length)
    return CarriedMask(whole, shape, build, whole if plain else None)


def _all_of(masks):
    """What every one of them allows."""
    masks = [mask for mask in masks if mask is not NONE]
    return reduce(operator.and_, masks) if masks else NONE


def _can_be_carried(attention_mask, q_offset, q_length, kwargs):
    """Compiled models take plain tensors: those traced here, and those whose static cache counts
    in a tensor (a decoder's step, which generate() compiles)."""
    if attention_mask is not None and masking_utils.is_tracing(attention_mask):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if isinstance(q_offset, torch.Tensor) and q_length == 1:
        return False
    return torch.device(kwargs.get("device", "cpu")).type == "cpu"
