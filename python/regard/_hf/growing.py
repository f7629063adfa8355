# SPDX-License-Identifier: Apache-2.0
"""The keys and values of a model that generates, with room behind them: transformers' own dynamic
cache copies all of them for each token."""

import functools

import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin
from transformers.cache_utils import DynamicLayer

_NAME = "regard"
_LEAST = 64  # rows of room


def watch():
    """From now on generate() makes such caches for models told "regard"."""
    if not hasattr(GenerationMixin, "_watched_by_regard"):
        GenerationMixin._watched_by_regard = True
        name = "_prepare_cache_for_generation"
        setattr(GenerationMixin, name, _prepare(getattr(GenerationMixin, name)))


def _prepare(real):
    @functools.wraps(real)
    def prepared(self, generation_config, model_kwargs, *args, **kwargs):
        given = {id(x) for x in model_kwargs.values()}
        real(self, generation_config, model_kwargs, *args, **kwargs)
        if self.config.get_text_config(decoder=True)._attn_implementation == _NAME:
            for x in model_kwargs.values():
                if id(x) not in given:
                    _let_grow(x)

    return prepared


def _let_grow(cache):
    """Its layers of the plain kind; those of sliding windows have an end of their own."""
    if isinstance(cache, EncoderDecoderCache):
        cache = cache.self_attention_cache
    if type(cache) is not DynamicCache or cache.offloading:
        return
    cache.layers = [GrowingLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = GrowingLayer


class GrowingLayer(DynamicLayer):
    """A DynamicLayer whose keys and values, (batch, heads, len_k, dim), are the beginning of larger
    tensors: what is new is written behind, a quarter more room is taken where none is left.

    Whatever else changes them (beams that are put in order, batches that are repeated) leaves other
    tensors, which are copied once, with room. Where gradients are wanted, and in compiled code, it
    is a DynamicLayer."""

    def lazy_initialization(self, key_states, value_states):
        super().lazy_initialization(key_states, value_states)
        self._rooms = {}

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        tensors = (self.keys, self.values, key_states, value_states)
        graph = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        if graph or torch.compiler.is_compiling():
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys = self._with("keys", self.keys, key_states)
        self.values = self._with("values", self.values, value_states)
        return self.keys, self.values

    def _with(self, name, old, new):
        length = old.shape[-2] if old.numel() else 0
        count = length + new.shape[-2]
        room = self._rooms.get(name)
        if room is None or count > room.shape[-2] or not _begins(old, room):
            rows = count + max(count // 4, _LEAST)
            room = new.new_empty(*new.shape[:-2], rows, new.shape[-1])
            if length:
                room[..., :length, :] = old
            self._rooms[name] = room
        room[..., length:count, :] = new
        return room[..., :count, :]


def _begins(old, room):
    """Whether ``old`` is the first rows of ``room``, which may be written to here."""
    same = old.shape[:-2] == room.shape[:-2] and old.stride() == room.stride()
    writable = torch.is_inference_mode_enabled() or not room.is_inference()
    return same and old.data_ptr() == room.data_ptr() and writable
