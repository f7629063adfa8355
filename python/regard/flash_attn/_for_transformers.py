# SPDX-License-Identifier: Apache-2.0
"""transformers asks for CUDA before it uses flash-attention 2, and takes float32 queries for a
mistake. While Regard stands in for the package, its checks say yes and queries keep their dtype;
nothing else of it changes, and restore() brings it back."""

import sys
from importlib.machinery import PathFinder

import torch

_CHECKS = "transformers.utils.import_utils"
_MODELS = "transformers.modeling_utils"
_CALLS = "transformers.modeling_flash_attention_utils"
_LAYERS = "transformers.integrations.flash_attention"
_NAME = "is_flash_attn_2_available"

_changed: dict = {}  # what was there, by module
_state = {"active": False}


def is_flash_attn_2_available(kernels_fallback_ok=False):
    return True


def get_target_dtype(query, module):
    """What a float32 query becomes: under autocast the region's dtype, else it stays."""
    if query.dtype == torch.float32 and torch.is_autocast_enabled(query.device.type):
        return torch.get_autocast_dtype(query.device.type)
    return None


def watched(name, path):
    """The spec of a module that is to be changed once it has been imported; None of others."""
    if not _state["active"] or name not in (_CHECKS, _MODELS, _LAYERS):
        return None
    spec = PathFinder.find_spec(name, path)
    if spec is None:
        return None
    run = spec.loader.exec_module

    def exec_module(module):
        run(module)
        if _state["active"]:
            _change(module)

    spec.loader.exec_module = exec_module
    return spec


def change():
    _state["active"] = True
    for name in (_CHECKS, _MODELS, _LAYERS):
        if name in sys.modules:
            _change(sys.modules[name])


def restore():
    _state["active"] = False
    if _MODELS in _changed:
        sys.modules[_MODELS].PreTrainedModel._flash_attn_can_dispatch = _changed.pop(_MODELS)
    if _LAYERS in _changed:
        sys.modules[_LAYERS].get_target_dtype = _changed.pop(_LAYERS)
    if _CHECKS in _changed:
        _replace(is_flash_attn_2_available, _changed.pop(_CHECKS))
        _forget()


def _change(module):
    if module.__name__ == _CHECKS:
        _changed[_CHECKS] = getattr(module, _NAME)
        _replace(_changed[_CHECKS], is_flash_attn_2_available)
        _forget()
    elif module.__name__ == _LAYERS:
        _changed[_LAYERS] = module.get_target_dtype
        module.get_target_dtype = get_target_dtype
    else:
        _changed[_MODELS] = original = module.PreTrainedModel._flash_attn_can_dispatch

        def can_dispatch(self, flash_attn_version, is_init_check=False):
            if flash_attn_version == 2 and self._supports_flash_attn:
                return True
            return original(self, flash_attn_version, is_init_check)

        module.PreTrainedModel._flash_attn_can_dispatch = can_dispatch


def _replace(old, new):
    """In every module of transformers that has imported the check by its name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "transformers" and vars(module).get(_NAME) is old:
            setattr(module, _NAME, new)
    calls = sys.modules.get(_CALLS)
    if calls is not None:
        calls.FLASH_ATTENTION_COMPATIBILITY_MATRIX[2]["general_availability_check"] = new


def _forget():
    """What transformers has cached of the packages that there are, and of their functions."""
    checks = sys.modules[_CHECKS]
    for name in ("_package_distribution_mapping", "is_flash_attn_greater_or_equal"):
        getattr(checks, name).cache_clear()
    if _CALLS in sys.modules:
        sys.modules[_CALLS]._loaded_implementation = None
