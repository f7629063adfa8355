# SPDX-License-Identifier: Apache-2.0
"""`import flash_attn` and the package's metadata, answered by Regard."""

import importlib
import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder

from . import _for_transformers

VERSION = "2.8.3"  # whose functions are offered; others ask the metadata for it

_PACKAGES = ("flash_attn", "flash_attn.layers")
# What each module of the installed package offers, and where it is from.
_MODULES = {
    "flash_attn": "regard.flash_attn",
    "flash_attn.flash_attn_interface": "regard.flash_attn",
    "flash_attn.bert_padding": "regard.flash_attn.bert_padding",
    "flash_attn.layers": None,
    "flash_attn.layers.rotary": "regard.flash_attn.rotary",
}
_METADATA = f"""\
Metadata-Version: 2.1
Name: flash-attn
Version: {VERSION}
Summary: flash-attention 2's functions on a CPU, by Regard
"""


class _Distribution(Distribution):
    """What importlib.metadata says of "flash-attn"."""

    def read_text(self, filename):
        return {"METADATA": _METADATA, "top_level.txt": "flash_attn\n"}.get(filename)

    def locate_file(self, path):
        return path


class _Finder(DistributionFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        if name in _MODULES:
            return ModuleSpec(name, self, origin="regard", is_package=name in _PACKAGES)
        return _for_transformers.watched(name, path)

    def find_distributions(self, context=DistributionFinder.Context()):  # noqa: B008
        wanted = (context.name or "flash-attn").lower().replace("_", "-").replace(".", "-")
        return iter([_Distribution()] if wanted == "flash-attn" else [])

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__version__ = VERSION
        source = _MODULES[module.__name__]
        if source is not None:
            source = importlib.import_module(source)
            public = getattr(source, "__all__", [n for n in vars(source) if n[0] != "_"])
            module.__all__ = [n for n in public if n not in ("install", "uninstall")]
            for name in module.__all__:
                setattr(module, name, getattr(source, name))


_finder = _Finder()


def install():
    """`import flash_attn` finds these functions from now on, and importlib.metadata a distribution
    flash-attn of VERSION, in this process: code that demands the package runs on a CPU. So does
    transformers' attn_implementation="flash_attention_2", imported before or after this.

    RuntimeError where another flash_attn has been imported. Twice is once."""
    if _finder in sys.meta_path:
        return
    other = sys.modules.get("flash_attn")
    if other is not None:
        raise RuntimeError(
            f"flash_attn: already imported from {getattr(other, '__file__', 'elsewhere')}; call"
            " regard.flash_attn.install() before"
        )
    sys.meta_path.insert(0, _finder)
    importlib.invalidate_caches()
    _for_transformers.change()


def uninstall():
    """Undoes install(); names that were imported meanwhile keep what they hold."""
    if _finder not in sys.meta_path:
        return
    sys.meta_path.remove(_finder)
    for name in _MODULES:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    _for_transformers.restore()
