# SPDX-License-Identifier: Apache-2.0
"""Whether a model's code computes attention through transformers' attention interface: found out
when the model is built or told its implementation, and said by name where it does not.

A model is built from parts, some of which have a configuration of their own. Where no attention
goes through the interface, the model is refused. Where some does, the parts that do not are set to
"eager", so that their masks are eager's, and a warning names them."""

import collections
import contextlib
import contextvars
import functools
import sys
import warnings

from transformers import PreTrainedModel

from . import reading

_NAME = "regard"
_told = contextvars.ContextVar("a model that set_attn_implementation works on", default=None)


def watch():
    """From now on every model is looked at when it is built or told its implementation."""
    if not hasattr(PreTrainedModel, "_watched_by_regard"):
        PreTrainedModel._watched_by_regard = True
        for wrap in (_get_correct_attn_implementation, _post_init, _set_attn_implementation):
            name = wrap.__name__[1:]
            setattr(PreTrainedModel, name, wrap(getattr(PreTrainedModel, name)))


def _get_correct_attn_implementation(real):
    """Called where a model's building begins, and for the parts of one that is told."""

    @functools.wraps(real)
    def checked(self, *args, **kwargs):
        chosen = real(self, *args, **kwargs)
        if chosen != _NAME:
            return chosen
        reason = _reason(type(self))
        if reason is None:
            return chosen
        if _is_part(self):
            return "eager"
        raise ValueError(_refusal(self, reason))

    return checked


def _post_init(real):
    """Called where a model's building ends: all its modules are there."""

    @functools.wraps(real)
    def checked(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if self.config._attn_implementation == _NAME:
            if _is_part(self):
                _judge_part(self)
            elif not _within_itself(self):
                _judge(self)

    return checked


def _set_attn_implementation(real):
    @functools.wraps(real)
    def checked(self, attn_implementation, *args, **kwargs):
        wanted = attn_implementation
        if isinstance(wanted, dict):
            wanted = wanted.get("", self.config._attn_implementation)
        if wanted == _NAME:
            _judge(self, warn=False)
        with _telling(self):
            real(self, attn_implementation, *args, **kwargs)
        if wanted == _NAME:
            for part in self.modules():
                if isinstance(part, PreTrainedModel) and part.config is not self.config:
                    _judge_part(part)
            _judge(self)

    return checked


@contextlib.contextmanager
def _telling(model):
    token = _told.set(model)
    try:
        yield
    finally:
        _told.reset(token)


def _reason(cls):
    """Why a class cannot be served, from what is known without its modules; else None."""
    tables = reading.class_tables(cls, _NAME)
    return f"looks its attention up in a table of its own, {tables[0]}" if tables else None


def _judge(model, warn=True):
    """Refuses a model none of whose attention goes through the interface; names what does not."""
    reason = _reason(type(model))
    if reason is not None:
        raise ValueError(_refusal(model, reason))
    found = _attention_of(model)
    own = sorted(found[reading.OWN])
    if not found[reading.INTERFACE]:
        if own:
            names = ", ".join(own)
            raise ValueError(_refusal(model, f"computes attention itself ({names})"))
        if warn:
            _warn(
                f"{type(model).__name__} has no attention that goes through transformers' attention"
                ' interface: attn_implementation="regard" has no effect on it'
            )
    elif warn and (own := [name for name in own if name != "MultiheadAttention"]):
        _warn(
            f'{type(model).__name__}: attn_implementation="regard" has no effect on'
            f" {', '.join(own)}, which compute attention themselves; the rest goes through Regard"
        )


def _judge_part(part):
    found = _attention_of(part)
    if found[reading.OWN] and not found[reading.INTERFACE]:
        part.config._attn_implementation_internal = "eager"


def _attention_of(model):
    """The names of the classes of a model's modules, by what they do."""
    found = collections.defaultdict(set)
    for module in model.modules():
        cls = type(module)
        found[reading.kind(cls)].add(cls.__name__)
    return found


def _refusal(model, reason):
    name = type(next((x for x in reversed(_around(model)) if _shares(x, model)), model)).__name__
    use = '"eager"'
    if model._supports_sdpa:
        use += ', or "sdpa" with regard.enable(), which serves scaled_dot_product_attention'
    return (
        f'{name} cannot use attn_implementation="regard": it {reason} and does not go through'
        f" transformers' attention interface. Use attn_implementation={use}"
    )


def _warn(text):
    warnings.warn(text, UserWarning, stacklevel=4)


def _is_part(model):
    """Whether a larger model, of another configuration, that asks for Regard as well is being
    built, or told, around it."""
    around = [each for each in _around(model) if each.config._attn_implementation == _NAME]
    return bool(around) and not any(_shares(each, model) for each in around)


def _within_itself(model):
    """Whether it lies in a model of the same configuration, which will be looked at instead."""
    return any(_shares(each, model) for each in _around(model))


def _shares(outer, model):
    return outer.config is model.config


def _around(model):
    """The models that are being built, or told, around this one. Building is not announced in any
    way: what tells are the constructors on the stack."""
    found = [] if _told.get() in (None, model) else [_told.get()]
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__init__":
            outer = frame.f_locals.get("self")
            if (
                isinstance(outer, PreTrainedModel)
                and outer is not model
                and "config" in vars(outer)
                and outer not in found
            ):
                found.append(outer)
        frame = frame.f_back
    return found
