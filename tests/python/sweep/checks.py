# SPDX-License-Identifier: Apache-2.0
"""What a tiny model is asked, eager and through Regard, and how their answers are compared."""

import copy
import dataclasses
import gc
import time
import warnings

import regard.transformers as door
import torch
import transformers
from transformers.modeling_outputs import ModelOutput
from transformers.models.auto import modeling_auto

from . import configs, inputs

TOLERANCE = 1e-4  # of the largest number of an output: eager takes several softmaxes in float32
LARGEST = 80e6  # parameters of a model that is still called tiny
SKIPPED_OUTPUTS = ("past_key_values", "cache", "loss", "attentions", "cross_attentions")


@dataclasses.dataclass
class Report:
    """One line of the sweep. ``result``: right, part (some attention stays the model's own),
    refused, none (no attention), wrong, or unbuilt (no tiny model, or no inputs, were found)."""

    model_type: str
    architecture: str
    result: str = "unbuilt"
    checked: list = dataclasses.field(default_factory=list)
    said: str = ""
    calls: int = 0
    unsure: int = 0  # calls without a mask of modules that do not say whether they are causal
    worst: float = 0.0
    seconds: float = 0.0


def architecture(model_type, base):
    """The class to try: what generates, where a type has such a class and is a decoder."""
    for table in (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    ):
        name = table.get(model_type)
        if name is not None:
            cls = transformers.CONFIG_MAPPING[model_type]
            if getattr(cls, "is_decoder", None) is False:  # an encoder, unless it is told otherwise
                continue
            return name if isinstance(name, str) else name[0]
    return base


def enliven(model):
    """Random weights large enough for attention to matter."""
    torch.manual_seed(1)
    with torch.no_grad():
        for x in model.parameters():
            if not x.is_floating_point():
                continue
            if not bool(x.isfinite().all()) or float(x.abs().max() if x.numel() else 1) == 0:
                x.normal_(0, 0.1)
            elif x.dim() >= 2 and float(x.std()) < 0.06:
                x.mul_(4)
    return model


def build(model_type, base):
    """(eager model, inputs) of the first configuration that is small enough and runs."""
    base = base or configs.part_class(model_type)
    if base is None:
        raise RuntimeError("no model class takes this configuration alone")
    name = architecture(model_type, base)
    reasons = []
    ways = [(configs.RULES, False), (configs.RULES, True), (configs.DEPTH_ONLY, True)]
    for rules, fill in ways:
        for cls_name in dict.fromkeys((name, base)):
            try:
                config = configs.tiny(model_type, rules, fill)
                cls = configs.model_class(model_type, cls_name)
                if rules is configs.DEPTH_ONLY and _too_large(cls, config, reasons):
                    continue
                torch.manual_seed(0)
                reference, _ = configs.REFERENCES.get(model_type, ("eager", None))
                model = cls._from_config(copy.deepcopy(config), attn_implementation=reference)
                if model._can_set_experts_implementation():
                    model.set_experts_implementation("eager")  # which has float64
                model = enliven(model).eval()
                taken, reason = _inputs(model)
                if taken is not None:
                    return model, taken, config
                reasons.append(reason)
            except TimeoutError:
                raise
            except Exception as error:
                reasons.append(_first_line(error))
    raise RuntimeError(reasons[0])


def _too_large(cls, config, reasons):
    """Counted without memory for them: what is built may have any width."""
    with torch.device("meta"):
        size = sum(x.numel() for x in cls(copy.deepcopy(config)).parameters())
    if size > LARGEST:
        reasons.append(f"{size / 1e6:.0f} million parameters")
    return size > LARGEST


def _first_line(error):
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _inputs(model):
    reason = None  # what the likeliest inputs meet
    for dtype in (torch.float64, torch.float32):
        model.to(dtype)
        for taken in inputs.tries(model):
            try:
                cast = to(taken, dtype)
                outputs = run(model, cast)
            except TimeoutError:
                raise
            except Exception as error:
                reason = reason or _first_line(error)
                continue
            if outputs and all(bool(x.isfinite().all()) for x in outputs.values()):
                return cast, None
            reason = reason or "its output is not finite"
    return None, reason or "no inputs known for its arguments"


def to(taken, dtype):
    return {k: x.to(dtype) if x.is_floating_point() else x for k, x in taken.items()}


def run(model, taken, grad=False):
    """The floating tensors of an output, by name."""
    torch.manual_seed(3)
    with torch.set_grad_enabled(grad):
        return dict(_tensors(model(**taken)))


def _tensors(output, name="output"):
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() and output.numel():
            yield name, output
    elif isinstance(output, (ModelOutput, dict)):
        for key, x in output.items():
            if key not in SKIPPED_OUTPUTS:
                yield from _tensors(x, f"{name}.{key}" if name != "output" else key)
    elif isinstance(output, (list, tuple)):
        for i, x in enumerate(output):
            yield from _tensors(x, f"{name}.{i}")


def difference(expected, actual, mask=None):
    """The largest difference of two outputs, in parts of the largest number of each tensor. mask:
    (batch, seq), which tokens mean something; with it only outputs of tokens count."""
    worst = 0.0
    for name, a in expected.items():
        if name not in actual or a.shape != actual[name].shape:
            return float("inf")
        b = actual[name]
        if mask is not None:
            if a.shape[:2] != mask.shape or a.dim() < 3:
                continue
            a, b = a[mask.bool()], b[mask.bool()]
        known = a.isfinite()
        if not bool((known == b.isfinite()).all()):
            return float("inf")
        a, b = a[known], b[known]
        if a.numel():
            worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp_min(1e-6)))
    return worst


def changed_rows(model, taken, name):
    """Which tokens' outputs another last token changes: a boolean of the sequence, or None."""
    other = dict(taken)
    other[name] = taken[name].clone()
    other[name][:, -1] = inputs.token_ids(model.config, length=1)[:, 0]
    same = other[name][:, -1] == taken[name][:, -1]
    other[name][:, -1] = torch.where(same, other[name][:, -2], other[name][:, -1])
    before, after = run(model, taken), run(model, other)
    for key, a in before.items():
        if a.dim() == 3 and a.shape[:2] == taken[name].shape and key in after:
            return ((a - after[key]).abs().amax((0, 2)) > 1e-7 * a.abs().max())[:-1]
    return None


class Calls:
    """Counts what reaches Regard, and how many calls leave causality open."""

    def __enter__(self):
        self.count, self.unsure, self.real = 0, 0, door.regard_attention
        real_attention = self.attention = door.attention

        def counted(*args, **kwargs):
            self.count += 1
            return real_attention(*args, **kwargs)

        def looked(module, query, key, value, attention_mask, *args, **kwargs):
            said = kwargs.get("is_causal") is not None or hasattr(module, "is_causal")
            if attention_mask is None and not said and query.shape[2] > 1:
                self.unsure += 1
            return self.real(module, query, key, value, attention_mask, *args, **kwargs)

        door.attention = counted
        transformers.AttentionInterface.register("regard", looked)
        return self

    def __exit__(self, *_):
        door.attention = self.attention
        transformers.AttentionInterface.register("regard", self.real)


def examine(model_type, base):
    """Everything about one model type, as a Report."""
    report, begun = Report(model_type, base or ""), time.monotonic()
    try:
        eager, taken, config = build(model_type, base)
    except Exception as error:
        report.said = str(error)[:160]
        return report
    report.architecture = type(eager).__name__
    try:
        _compare(report, eager, taken, config)
    except TimeoutError:
        raise
    except Exception as error:
        report.result = "wrong"
        where = _where(error)
        report.said = f"{type(error).__name__}: {str(error)[:140]} ({where})".replace("\n", " ")
    report.seconds = time.monotonic() - begun
    gc.collect()
    return report


def _where(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"


def _compare(report, eager, taken, config):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            ours = type(eager)._from_config(copy.deepcopy(config), attn_implementation="regard")
        except ValueError as error:
            if 'cannot use attn_implementation="regard"' not in str(error):
                raise
            report.result, report.said = "refused", str(error)
            return
    said = [str(each.message) for each in heard if "regard" in str(each.message)]
    if ours._can_set_experts_implementation():
        ours.set_experts_implementation("eager")
    ours.load_state_dict(eager.state_dict())
    ours = ours.to(next(eager.parameters()).dtype).eval()
    idle = any("has no attention" in each for each in said)
    with Calls() as calls:
        if idle:
            _hold(report, "plain", difference(run(eager, taken), run(ours, taken)))
        else:
            _ask(report, eager, ours, taken)
    report.calls, report.unsure = calls.count, calls.unsure
    if report.result == "wrong":
        return
    said += [why for name, (_, why) in configs.REFERENCES.items() if name == report.model_type]
    report.said = " ".join(said)
    report.result = "right" if calls.count else "none"
    if calls.count and any("has no effect" in each for each in said):
        report.result = "part"
    if not calls.count and not said:
        report.result, report.said = "wrong", "Regard is ignored without a word"


def _ask(report, eager, ours, taken):
    """Every question that the model can be asked; the first wrong answer ends it."""
    asked = {"plain": {k: x for k, x in taken.items() if k != "attention_mask"}}
    if "attention_mask" in taken:
        asked["ones"] = taken
        asked["right padding"] = inputs.padded(taken, "right")
        asked["left padding"] = inputs.padded(taken, "left")
    dtype = next(eager.parameters()).dtype
    for name, each in asked.items():
        # Eager's softmax in float32 makes float64's lowest number -inf, and rows of padding NaN.
        narrow = torch.float32 if "padding" in name else dtype
        eager, ours, each = eager.to(narrow), ours.to(narrow), to(each, narrow)
        try:
            expected = run(eager, each)
        except TimeoutError:
            raise
        except Exception:
            continue  # eager does not take it either
        mask = each["attention_mask"] if "padding" in name else None
        worst = difference(expected, run(ours, each), mask)
        _hold(report, name, worst, 10 * TOLERANCE if narrow != dtype else TOLERANCE)
    eager, ours = eager.to(dtype), ours.to(dtype)
    _look_ahead(report, eager, ours, taken)
    _gradients(report, eager, ours, taken)
    _weights(report, eager, ours, taken)
    _generate(report, eager, ours, taken)


def _hold(report, name, worst, tolerance=TOLERANCE):
    if report.result == "wrong":
        return
    report.worst = max(report.worst, worst)
    if not worst <= tolerance:
        report.result, report.said = "wrong", f"{name}: {worst:.1e} of the range"
    else:
        report.checked.append(name)


def _look_ahead(report, eager, ours, taken):
    name = "decoder_input_ids" if "decoder_input_ids" in taken else "input_ids"
    if name not in taken or taken[name].shape[1] < 3:
        return
    expected = changed_rows(eager, taken, name)
    if expected is None:
        return
    actual = changed_rows(ours, taken, name)
    kind = "future" if not bool(expected.any()) else "both sides"
    _hold(report, kind, 0.0 if torch.equal(expected, actual) else float("inf"))


def _gradients(report, eager, ours, taken):
    """Of every parameter, for a random direction of the outputs."""
    found = []
    for model in (eager, ours):
        model.zero_grad()
        try:
            outputs = run(model, taken, grad=True)
            torch.manual_seed(4)
            outputs = [x for x in outputs.values() if x.requires_grad]
            sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
        except TimeoutError:
            raise
        except Exception:
            if model is eager:
                return
            raise
        found.append({k: x.grad for k, x in model.named_parameters() if x.grad is not None})
        model.zero_grad()
    if found[0]:
        scale = max(float(x.abs().max()) for x in found[0].values() if x.numel())
        missing = found[0].keys() ^ found[1].keys()
        worst = max(
            float((x - found[1][k]).abs().max()) / max(float(x.abs().max()), 1e-3 * scale, 1e-30)
            for k, x in found[0].items()
            if k not in missing and x.numel()
        )
        _hold(report, "gradients", float("inf") if missing else worst)


def _weights(report, eager, ours, taken):
    """output_attentions=True: eager's weights, in the same places."""
    try:
        torch.manual_seed(3)
        expected = eager(**taken, output_attentions=True)
        torch.manual_seed(3)
        actual = ours(**taken, output_attentions=True)
    except TypeError:
        return
    if not isinstance(expected, dict):
        return
    for key in ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions"):
        a, b = expected.get(key), actual.get(key)
        if a is None or not isinstance(a, tuple) or not any(torch.is_tensor(x) for x in a):
            continue
        if b is None or [x is None for x in a] != [x is None for x in b]:
            _hold(report, key, float("inf"))
            continue
        pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None]
        same = all(x.shape == y.shape for x, y in pairs)
        worst = max(float((x - y).abs().max()) for x, y in pairs) if same else float("inf")
        _hold(report, key, worst)


def _generate(report, eager, ours, taken):
    if not eager.can_generate() or "input_ids" not in taken:
        return
    asked = {k: x for k, x in taken.items() if k != "decoder_input_ids"}
    if "attention_mask" in asked and "decoder_input_ids" not in taken:
        asked = inputs.padded(asked, "left")
    eager, ours, asked = eager.float(), ours.float(), to(asked, torch.float32)  # as left padding
    options = dict(max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0)
    try:
        expected = eager.generate(**asked, **options)
    except TimeoutError:
        raise
    except Exception:
        return
    actual = ours.generate(**asked, **options)
    expected, actual = (x if torch.is_tensor(x) else x.sequences for x in (expected, actual))
    _hold(report, "generate", 0.0 if torch.equal(expected, actual) else float("inf"))
