"""Masks of transformers as masks of Regard: causal, sliding windows, padding and packed
sequences keep their parameters, and no n x n matrix is made."""

import torch
from transformers import masking_utils
from transformers.masking_utils import sdpa_mask

from .masks import NONE, causal, documents, key_lengths, tensor, window


class CarriedMask:
    """Passes through a model's layers in the place of a (batch, 1, len_q, len_k) mask. Code that
    would take it apart fails loudly."""

    def __init__(self, mask, batch_size, q_length, kv_length):
        self.mask = mask
        self.shape = (batch_size, 1, q_length, kv_length)
        self.ndim = 4

    def dim(self):
        return 4

    def __getitem__(self, _):
        raise NotImplementedError(
            'attn_implementation="regard": a model that takes its attention mask apart is not'
            ' supported; use "eager" or "sdpa"'
        )

    def to(self, *_, **__):
        return self

    def contiguous(self):
        return self


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
    """The mask that a mask function of transformers stands for, NONE for one that hides nothing,
    or None for one not known here."""
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
    if function.__qualname__ == "packed_sequence_mask_function.<locals>.inner_mask":
        return _documents(_closure(function)["packed_sequence_mask"])
    return None


def _documents(numbers):
    """(1, seq), each token's sequence by number, as a mask; None for a batch, whose rows are
    packed each in its own way."""
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
    **kwargs,
):
    """What transformers asks for a mask. None where "no mask" and `is_causal` say it all, else a
    CarriedMask, else (custom functions, blockwise patterns, batches of packed rows, compiled
    models, static caches) a boolean tensor."""
    if isinstance(
        attention_mask, CarriedMask
    ):  # generate() makes a static cache's masks ahead of the model
        return attention_mask
    arguments = dict(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        **kwargs,
    )
    device = torch.device(kwargs.get("device", "cpu"))
    traced = (
        masking_utils.is_tracing(attention_mask)
        if attention_mask is not None
        else torch.compiler.is_compiling()
    )
    if (
        traced
        or device.type != "cpu"
        or isinstance(q_offset, torch.Tensor)
        or kwargs.get("use_vmap")
        or batch_size == 0
        or q_length == 0
    ):
        return sdpa_mask(**arguments)
    found = [_as_mask(part, q_offset - kv_offset) for part in _parts(mask_function)]
    if any(mask is None for mask in found):
        return sdpa_mask(**arguments)
    masks = [mask for mask in found if mask is not NONE]
    padding = _padding(attention_mask, kv_length, kv_offset)
    if padding is None and _says_nothing(
        mask_function, masks, q_length, kv_length, q_offset - kv_offset, kwargs
    ):
        return None
    if padding is not None:
        masks.append(padding)
    if not masks:  # the caller insists on a mask
        return sdpa_mask(**arguments)
    whole = masks[0]
    for mask in masks[1:]:
        whole = whole & mask
    return CarriedMask(whole, batch_size, q_length, kv_length)


def _says_nothing(mask_function, masks, q_length, kv_length, offset, kwargs):
    """Whether "no mask" is enough: the attention function then goes by `is_causal`, which is
    top-left aligned and off for one query."""
    if not masks:
        return kwargs.get("allow_is_bidirectional_skip", False)
    if mask_function is not masking_utils.causal_mask_function or not kwargs.get(
        "allow_is_causal_skip", True
    ):
        return False
    if q_length == 1:
        return offset >= kv_length - 1
    return offset == 0 and q_length == kv_length
