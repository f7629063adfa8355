# SPDX-License-Identifier: Apache-2.0
"""Continuous batching of transformers (generate_batch): requests of many lengths packed in one row,
their keys and values in pages. Regard takes what a flash kernel would be given there: the
boundaries of the requests, and, where each brings one token, the pages themselves; never a mask of
all tokens by all keys."""

import functools

from transformers.generation.continuous_batching import cache, continuous_api, initialization
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.input_outputs import PagedAttentionArgs

from ..flash_attn._cache import Cache
from ..masks import causal
from .packed import packed, pattern

_NAME = "regard"
_AS_FLASH = "is_flash_attention_requested"


def watch():
    """From now on continuous batching knows Regard."""
    for module in (cache, continuous_api, initialization):
        setattr(module, _AS_FLASH, _or_regard(getattr(module, _AS_FLASH)))
    name = "ensure_decode_fast_path_is_available"
    setattr(initialization, name, _pages_on_cpus(getattr(initialization, name)))


def _or_regard(real):
    @functools.wraps(real)
    def requested(config=None, requested_attention_implementation=None, version=None):
        name = config._attn_implementation if config else requested_attention_implementation
        if name == _NAME:
            return version is None
        return real(config, requested_attention_implementation, version)

    return requested


def _pages_on_cpus(real):
    """transformers hands out pages to kernels on CUDA and XPU alone."""

    @functools.wraps(real)
    def ensured(config, cb_config, user_requested):
        kinds = initialization.group_layers_by_attn_type(config)
        served = all(
            initialization.ATTN_TYPE_TO_ALLOCATOR[kind].supports_block_table for kind in kinds
        )
        if config._attn_implementation != _NAME or not served:
            real(config, cb_config, user_requested)

    return ensured


def is_paged(x):
    return isinstance(x, PagedAttentionCache)


def others(arguments):
    """What of a call's keyword arguments is not continuous batching's own."""
    return {
        name: x for name, x in arguments.items() if name not in PagedAttentionArgs.__annotations__
    }


def attend(module, query, key, value, pages, given, sliding_window, options):
    """Attention of the requests' new tokens, (1, heads, tokens, dim), over all that each request
    has, the new keys and values written into the pages: (1, tokens, heads, dim_v). ``given``: what
    came with the pages."""
    given = dict(given)
    if pages.layer_to_allocator[module.layer_idx].layer_type != "sliding_attention":
        sliding_window = None
    elif sliding_window is None:
        sliding_window = module.config.sliding_window
    key, value = pages.update(
        key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=given
    )
    if given.get("block_table") is not None:
        return _one_token_each(query, key, value, given, options)
    cu_q, cu_k = given["cu_seq_lens_q"], given["cu_seq_lens_k"]
    return packed(query, key, value, cu_q, cu_k, pattern(None, True, sliding_window), options)


def _one_token_each(query, key, value, given, options):
    """One new token of each request, read from and written to the pages as they lie."""
    query, key, value = (x.transpose(1, 2).transpose(0, 1) for x in (query, key, value))
    count = query.shape[0]
    lengths = given["cu_seq_lens_k"][: count + 1].diff() - 1
    table = given["block_table"][:count]
    pages = Cache(query, given["k_cache"], given["v_cache"], lengths, None, None, table)
    pages.check_room(1)
    pages.append(key, value)
    options = {name: options[name] for name in ("scale", "softcap", "modifiers")}
    return pages.attend(query, causal(), None, dict(options, return_lse=False)).transpose(0, 1)
