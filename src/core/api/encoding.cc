// SPDX-License-Identifier: Apache-2.0
#include "regard/encoding.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <string>
#include <string_view>

#include "core/check_view.h"

namespace regard {
namespace {

const RecordFormat* format_of(Record kind) {
  const auto* format =
      std::find_if(std::begin(kRecordFormats), std::end(kRecordFormats),
                   [kind](const RecordFormat& format) { return format.kind == kind; });
  return format == std::end(kRecordFormats) ? nullptr : format;
}

std::string name_of(Record kind) {
  const RecordFormat* format = format_of(kind);
  return format != nullptr ? format->name
                           : "kind " + std::to_string(static_cast<std::int64_t>(kind));
}

// Calls f(name) for each of the names that ", " separates.
template <typename F>
void for_each_name(std::string_view names, F f) {
  while (!names.empty()) {
    const std::size_t end = names.find(", ");
    f(names.substr(0, end));
    names = end == std::string_view::npos ? std::string_view() : names.substr(end + 2);
  }
}

std::size_t count_names(const char* names) {
  std::size_t count = 0;
  for_each_name(names, [&count](std::string_view) { ++count; });
  return count;
}

// A list of integers for each batch entry, or one for all.
Status copy_lists(const char* name, const TensorView& view,
                  std::vector<std::vector<std::int64_t>>* out) {
  Status status = check_view(name, view);
  if (!status.ok()) return status;
  if (view.dtype != DType::kInt32 && view.dtype != DType::kInt64) {
    return Status::invalid(std::string(name) + ": dtype " + regard::name_of(view.dtype) +
                           "; expected int32 or int64");
  }
  if (view.shape[0] != 1 || view.shape[1] != 1) {
    return Status::invalid(std::string(name) + ": shape " + text(view.shape) +
                           "; expected (1, 1, batch or 1, entries)");
  }
  for (std::int64_t b = 0; b < view.shape[2]; ++b) {
    std::vector<std::int64_t>& list = out->emplace_back();
    list.reserve(static_cast<std::size_t>(view.shape[3]));
    for (std::int64_t n = 0; n < view.shape[3]; ++n) {
      const std::int64_t at = b * view.strides[2] + n * view.strides[3];
      list.push_back(view.dtype == DType::kInt32 ? static_cast<const std::int32_t*>(view.data)[at]
                                                 : static_cast<const std::int64_t*>(view.data)[at]);
    }
  }
  return status;
}

Status copy_integers(const char* name, const TensorView& view, std::vector<std::int64_t>* out) {
  if (view.shape[0] != 1 || view.shape[1] != 1 || view.shape[2] != 1) {
    return Status::invalid(std::string(name) + ": shape " + text(view.shape) +
                           "; expected (1, 1, 1, entries)");
  }
  std::vector<std::vector<std::int64_t>> lists;
  Status status = copy_lists(name, view, &lists);
  if (status.ok()) *out = std::move(lists[0]);
  return status;
}

class Decoder {
 public:
  Decoder(std::span<const std::int64_t> ints, std::span<const double> floats,
          std::span<const TensorView> tensors, Differentiable* differentiable)
      : ints_(ints),
        floats_(floats),
        tensors_(tensors),
        given_(tensors.size()),
        differentiable_(differentiable) {}

  Status run(Options* options) {
    while (!ints_.empty()) {
      if (ints_.size() < 2) return Status::invalid("options: the last record ends after its kind");
      kind_ = static_cast<Record>(ints_[0]);
      const std::int64_t count = ints_[1];
      if (count < 0 || count > static_cast<std::int64_t>(ints_.size()) - 2) {
        return Status::invalid("options: " + name_of(kind_) + " says " + std::to_string(count) +
                               " integers; " + std::to_string(ints_.size() - 2) + " are left");
      }
      values_ = ints_.subspan(2, static_cast<std::size_t>(count));
      ints_ = ints_.subspan(2 + values_.size());
      Status status = record();
      if (!status.ok()) return status;
    }
    if (!floats_.empty()) return left_over(floats_.size(), "floats");
    if (!tensors_.empty()) return left_over(tensors_.size(), "tensors");
    if (masks_.size() > 1) return left_over(masks_.size() - 1, "masks that nothing joins");
    if (!masks_.empty()) options_.mask = masks_.back();
    *options = std::move(options_);
    return {};
  }

 private:
  static Status left_over(std::size_t count, const char* what) {
    return Status::invalid("options: " + std::to_string(count) + " " + what +
                           " left over after the last record");
  }

  Status lacks(std::size_t needed, const char* what, std::size_t found) const {
    return Status::invalid("options: " + name_of(kind_) + " takes " + std::to_string(needed) + " " +
                           what + "; found " + std::to_string(found));
  }

  Status check(const RecordFormat& format) const {
    const std::size_t ints = count_names(format.ints), floats = count_names(format.floats),
                      tensors = count_names(format.tensors),
                      masks = static_cast<std::size_t>(format.masks);
    if (values_.size() != ints) return lacks(ints, "integers", values_.size());
    if (floats_.size() < floats) return lacks(floats, "floats", floats_.size());
    if (tensors_.size() < tensors) return lacks(tensors, "tensors", tensors_.size());
    if (masks_.size() < masks) return lacks(masks, "masks", masks_.size());
    return {};
  }

  Status record() {
    const RecordFormat* format = format_of(kind_);
    if (format == nullptr)
      return Status::unsupported("options: records of " + name_of(kind_) +
                                 " are not supported yet");
    Status status = check(*format);
    if (!status.ok()) return status;
    switch (kind_) {
      case Record::kCausal: masks_.push_back(causal(offset(0))); break;
      case Record::kWindow: masks_.push_back(window(values_[0], values_[1], offset(2))); break;
      case Record::kKeyLengths: return take_key_lengths();
      case Record::kDocuments: return take_documents();
      case Record::kTensor: masks_.push_back(tensor(take_tensor())); break;
      case Record::kDilated: return take_dilated();
      case Record::kGlobalTokens: return take_global_tokens();
      case Record::kBlocks: masks_.push_back(blocks(take_tensor(), values_[0], values_[1])); break;
      case Record::kPrefix: return take_prefix();
      case Record::kTree: return take_tree();
      case Record::kAround: masks_.push_back(around(take_tensor(), values_[0])); break;
      case Record::kBigBird:
        masks_.push_back(bigbird({values_[0], values_[1], values_[2], values_[3],
                                  static_cast<std::uint64_t>(values_[4])}));
        break;
      case Record::kAnd: join([](const Mask& a, const Mask& b) { return a & b; }); break;
      case Record::kOr: join([](const Mask& a, const Mask& b) { return a | b; }); break;
      case Record::kNot: masks_.back() = ~masks_.back(); break;
      case Record::kPart:
        if (options_.part) return Status::invalid("options: part is given twice");
        options_.part = Part{values_[0], values_[1], values_[2], values_[3]};
        break;
      case Record::kScale:
        if (options_.scale) return Status::invalid("options: scale is given twice");
        options_.scale = take_float();
        break;
      case Record::kSoftcap: options_.modifiers.push_back(Softcap{take_float()}); break;
      case Record::kBias:
        options_.modifiers.push_back(Bias{take_differentiable(), values_[0] != 0});
        break;
      case Record::kTemperature:
        options_.modifiers.push_back(Temperature{take_differentiable()});
        break;
      case Record::kAlibi: options_.modifiers.push_back(Alibi{take_differentiable()}); break;
      case Record::kRelativeBias: take_relative_bias(); break;
      case Record::kFunction: take_function(); break;
      case Record::kSinks: options_.modifiers.push_back(Sinks{take_differentiable()}); break;
      case Record::kDropout: return take_dropout();
      case Record::kMultiplier:
        options_.modifiers.push_back(Multiplier{take_differentiable()});
        break;
      case Record::kGaussian:
        options_.modifiers.push_back(Gaussian{take_differentiable(), take_float()});
        break;
      case Record::kAdditive:
        if (options_.score) return Status::invalid("options: a score is given twice");
        if (differentiable_ != nullptr) differentiable_->score_v = given_ - tensors_.size();
        options_.score = Additive{take_tensor()};
        break;
      case Record::kPreparedKeys:
        if (!options_.score)
          return Status::invalid(
              "options: prepared_keys without a score; keys are prepared for an additive one");
        options_.score->prepared_keys = take_tensor();
        break;
    }
    return {};
  }

  // The pair (has_offset, offset) at `first`.
  std::optional<std::int64_t> offset(std::size_t first) const {
    return values_[first] != 0 ? std::optional(values_[first + 1]) : std::nullopt;
  }

  template <typename Join>
  void join(Join two) {
    const Mask b = std::move(masks_.back());
    masks_.pop_back();
    masks_.back() = two(masks_.back(), b);
  }

  Status take_key_lengths() {
    std::vector<std::int64_t> lengths;
    Status status = copy_integers("key_lengths", take_tensor(), &lengths);
    if (status.ok()) masks_.push_back(key_lengths(std::move(lengths)));
    return status;
  }

  Status take_documents() {
    std::vector<std::int64_t> cu_q, cu_k;
    Status status = copy_integers("documents: cu_q", take_tensor(), &cu_q);
    if (status.ok()) status = copy_integers("documents: cu_k", take_tensor(), &cu_k);
    if (status.ok()) masks_.push_back(documents(std::move(cu_q), std::move(cu_k)));
    return status;
  }

  Status take_dilated() {
    std::vector<std::int64_t> dilations;
    Status status = copy_integers("dilated: dilations", take_tensor(), &dilations);
    if (status.ok())
      masks_.push_back(dilated(values_[0], values_[1], std::move(dilations), offset(2)));
    return status;
  }

  Status take_global_tokens() {
    std::vector<std::vector<std::int64_t>> lists;
    Status status = copy_lists("global_tokens", take_tensor(), &lists);
    if (!status.ok()) return status;
    for (std::vector<std::int64_t>& list : lists) std::erase(list, -1);
    masks_.push_back(lists.size() == 1 ? global_tokens(std::move(lists[0]), offset(0))
                                       : global_tokens_by_batch(std::move(lists), offset(0)));
    return status;
  }

  Status take_prefix() {
    std::vector<std::int64_t> lengths;
    Status status = copy_integers("prefix", take_tensor(), &lengths);
    if (status.ok()) masks_.push_back(prefix(std::move(lengths), offset(0)));
    return status;
  }

  Status take_tree() {
    std::vector<std::vector<std::int64_t>> lists;
    Status status = copy_lists("tree: parents", take_tensor(), &lists);
    if (status.ok())
      masks_.push_back(lists.size() == 1 ? tree(std::move(lists[0]))
                                         : tree_by_batch(std::move(lists)));
    return status;
  }

  void take_relative_bias() {
    RelativeBias bias{take_differentiable(), take_tensor(), {}, {}, values_[0]};
    bias.key_code = take_tensor();
    bias.buckets = take_tensor();
    options_.modifiers.push_back(bias);
  }

  void take_function() {
    const auto address = [](std::int64_t value) {
      return reinterpret_cast<void (*)(const FunctionTile*, void*)>(
          static_cast<std::intptr_t>(value));
    };
    options_.modifiers.push_back(
        Function{address(values_[0]), address(values_[1]),
                 reinterpret_cast<void*>(static_cast<std::intptr_t>(values_[2]))});
  }

  Status take_dropout() {
    std::vector<std::int64_t> seed;
    Status status = copy_integers("dropout: seed", take_tensor(), &seed);
    if (!status.ok()) return status;
    if (seed.size() != 1)
      return Status::invalid("dropout: seed has " + std::to_string(seed.size()) +
                             " elements; expected 1");
    options_.modifiers.push_back(Dropout{take_float(), static_cast<std::uint64_t>(seed[0])});
    return {};
  }

  double take_float() {
    const double value = floats_.front();
    floats_ = floats_.subspan(1);
    return value;
  }

  TensorView take_differentiable() {
    if (differentiable_ != nullptr) differentiable_->modifiers.push_back(given_ - tensors_.size());
    return take_tensor();
  }

  TensorView take_tensor() {
    const TensorView view = tensors_.front();
    tensors_ = tensors_.subspan(1);
    return view;
  }

  std::span<const std::int64_t> ints_;
  std::span<const double> floats_;
  std::span<const TensorView> tensors_;
  std::size_t given_;               // tensors there were at first
  Differentiable* differentiable_;  // may be null
  Record kind_ = Record::kCausal;
  std::span<const std::int64_t> values_;  // of the record at hand
  std::vector<Mask> masks_;
  Options options_;
};

// One record as text; takes its floats and tensors from the lists.
class RecordText {
 public:
  RecordText(std::span<const double> floats, std::span<const TensorView> tensors)
      : floats_(floats), tensors_(tensors) {}

  std::string line(const RecordFormat& format, std::span<const std::int64_t> values) {
    std::string arguments;
    const auto add = [&arguments](std::string_view name, const std::string& value) {
      arguments += (arguments.empty() ? "" : ", ") + std::string(name) + "=" + value;
    };
    std::size_t at = 0;
    for_each_name(format.ints, [&](std::string_view name) {
      add(name, at < values.size() ? std::to_string(values[at]) : "missing");
      ++at;
    });
    for_each_name(format.floats, [&](std::string_view name) {
      add(name, float_ < floats_.size() ? text(floats_[float_]) : "missing");
      ++float_;
    });
    for_each_name(format.tensors, [&](std::string_view name) {
      add(name, "tensor " + std::to_string(tensor_) +
                    (tensor_ < tensors_.size() ? " " + text(tensors_[tensor_].shape) : ""));
      ++tensor_;
    });
    return format.name + (arguments.empty() ? std::string() : "(" + arguments + ")");
  }

 private:
  std::span<const double> floats_;
  std::span<const TensorView> tensors_;
  std::size_t float_ = 0, tensor_ = 0;
};

}  // namespace

std::string encoding_text(std::span<const std::int64_t> ints, std::span<const double> floats,
                          std::span<const TensorView> tensors) {
  RecordText text(floats, tensors);
  std::string lines;
  while (ints.size() >= 2) {
    const RecordFormat* format = format_of(static_cast<Record>(ints[0]));
    const std::int64_t left = static_cast<std::int64_t>(ints.size()) - 2, count = ints[1];
    const auto size = static_cast<std::size_t>(std::clamp<std::int64_t>(count, 0, left));
    lines += format != nullptr ? text.line(*format, ints.subspan(2, size))
                               : "kind " + std::to_string(ints[0]) + ", which is not known";
    lines += count == static_cast<std::int64_t>(size) ? "\n" : " (cut off)\n";
    ints = ints.subspan(2 + size);
  }
  return lines + (ints.empty() ? "" : "(cut off)\n");
}

Status decode(std::span<const std::int64_t> ints, std::span<const double> floats,
              std::span<const TensorView> tensors, Options* options,
              Differentiable* differentiable) {
  try {
    return Decoder(ints, floats, tensors, differentiable).run(options);
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "options: no memory for the masks"};
  }
}

}  // namespace regard
