# SPDX-License-Identifier: Apache-2.0
"""Weights of attention for output_attentions=True: exact, and built only when they are wanted."""

import torch
from transformers.utils import output_capturing

from .._torch.map import attention_map
from .exceptions import WEIGHTS_WITHOUT_SINKS


def wanted(module, arguments):
    """Whether somebody asked the model for the weights: by the argument, by the configuration, or
    through the collector that models with hooks fill."""
    if arguments.pop("output_attentions", None):
        return True
    if torch.compiler.is_compiling():
        return False
    collected = output_capturing._active_collector.get()
    if collected is not None and any(name.endswith("attentions") for name in collected):
        return True
    config = getattr(module, "config", None)
    return bool(getattr(config, "output_attentions", False))


def weights(module, query, key, **options):
    """(batch, heads, len_q, len_k), in the type of the query, as eager gives them, after dropout.
    They carry no gradient."""
    if getattr(getattr(module, "config", None), "model_type", None) in WEIGHTS_WITHOUT_SINKS:
        options["modifiers"] = ()
    return attention_map(query, key, **options).to(query.dtype)
