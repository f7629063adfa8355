// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/api/decode.h"
#include "core/api/forward_task.h"
#include "core/cache/check.h"
#include "core/check_view.h"
#include "core/return_if_error.h"
#include "core/schedule/borrow.h"
#include "core/schedule/forward_items.h"
#include "core/schedule/run.h"
#include "core/validate/validate.h"
#include "regard/cache.h"

namespace regard {
namespace {

struct AttendCall {
  plan::Layout layout;
  kernels::ForwardTask task;
  ModifierMemory modifiers;
  DecodeMemory decode;
  std::vector<plan::OwnLengths> lengths;
};

// Keys or values as forward() would be given them, for its checks and for what sizes say: of the
// longest sequence.
TensorView as_tensor(const TensorView& rows, std::int64_t batch, std::int64_t longest,
                     DType dtype) {
  TensorView view = rows;
  view.dtype = dtype;
  view.shape[0] = batch;
  view.shape[2] = longest;
  // Where a table says where rows are, strides of the tensor say nothing about them.
  view.strides = {0, 0, 0, 0};
  return view;
}

Status check_packed(const TensorView& q, std::span<const std::int64_t> cu_q, std::size_t batch) {
  if (q.shape[0] != 1) {
    return Status::invalid("query: shape " + text(q.shape) +
                           "; expected batch 1, since cu_q says which rows are whose");
  }
  bool fits = cu_q.size() == batch + 1 && cu_q.front() == 0 && cu_q.back() == q.shape[2];
  for (std::size_t b = 0; fits && b < batch; ++b) fits = cu_q[b] <= cu_q[b + 1];
  if (fits) return {};
  return Status::invalid("cu_q: expected " + std::to_string(batch + 1) +
                         " numbers that start at 0, never fall and end at " +
                         std::to_string(q.shape[2]) + ", the rows of query");
}

Status check(const TensorView& q, const CacheView& cache, const Options& options,
             const Outputs& outputs, std::int64_t longest, std::span<const std::int64_t> cu_q) {
  REGARD_RETURN_IF_ERROR(check_cache(cache));
  if (options.score)
    return Status::unsupported("score: an additive one; a cache serves dot products");
  if (options.part) return Status::unsupported("part: given; a cache's sequences are whole");
  if (q.dtype == DType::kFloat64)
    return Status::unsupported("query: float64; a cache serves float32, bfloat16 and float16");
  const auto batch = static_cast<std::int64_t>(cache.lengths.size());
  const bool packed = !cu_q.empty();
  if (packed) REGARD_RETURN_IF_ERROR(check_packed(q, cu_q, cache.lengths.size()));
  Options checked = options;
  checked.mask = Mask();  // the layout's to check, for the batch that it has
  const std::int64_t entries = packed ? 1 : batch;
  return validate_forward({q, as_tensor(cache.k, entries, longest, q.dtype),
                           as_tensor(cache.v, entries, longest, q.dtype)},
                          checked, outputs);
}

// Rows of a packed tensor belong to every batch entry alike: sequences say which are whose.
template <class View>
View spread(View view, std::int64_t batch) {
  if (!view.given()) return view;
  view.shape[0] = batch;
  view.strides[0] = 0;
  return view;
}

kernels::RowSource source(const TensorView& rows, const TensorView& scale) {
  kernels::RowSource made = source_of(rows);
  if (rows.dtype == DType::kInt8) {
    made.scales = static_cast<const float*>(scale.data);
    made.scale_slot = scale.strides[0];
    made.scale_head = scale.strides[1];
    made.scale_row = scale.strides[2];
  }
  return made;
}

// Copies of the keys and values of sequences that do not take the decode pass, as that of forward()
// reads them: side by side, without a table, as floats where they are int8.
class SideBySide {
 public:
  // Whether the cache lies so already.
  static bool lies(const CacheView& cache) {
    return cache.table == nullptr && cache.k.dtype != DType::kInt8 && cache.v.dtype != DType::kInt8;
  }

  Status copy(const CacheView& cache, const plan::Layout& layout, std::int64_t longest,
              Inputs& inputs, const Executor& executor) {
    cache_ = &cache;
    for (const plan::Sequence& sequence : layout.sequences) {
      if (sequence.len_q > 0 &&
          !kernels::takes_decode(kernels::kDecodeQueries, sequence.len_q, sequence.len_k))
        batches_.push_back(sequence.batch);
    }
    if (batches_.empty()) return {};
    const auto batch = static_cast<std::int64_t>(cache.lengths.size());
    const auto view_of = [&](const TensorView& rows) {
      return MutableTensorView::bhsd(nullptr,
                                     rows.dtype == DType::kInt8 ? DType::kFloat32 : rows.dtype,
                                     batch, rows.shape[1], longest, rows.shape[3]);
    };
    k_ = view_of(cache.k);
    v_ = view_of(cache.v);
    const auto bytes_of = [](const MutableTensorView& view) {
      return (static_cast<std::size_t>(view.shape[0] * view.strides[0]) * size_of(view.dtype) +
              127) /
             128 * 128;
    };
    const std::size_t bytes = bytes_of(k_) + bytes_of(v_);
    memory_.emplace(bytes);
    if (memory_->data() == nullptr) {
      return {StatusCode::kOutOfMemory,
              "cache: " + std::to_string(bytes) +
                  " bytes for copies of keys and values could not be allocated"};
    }
    k_.data = memory_->data();
    v_.data = memory_->data() + bytes_of(k_);
    inputs.k = as_const(k_);
    inputs.v = as_const(v_);
    const std::size_t heads = static_cast<std::size_t>(cache.k.shape[1]);
    const double work = 8.0 * static_cast<double>(batches_.size() * heads) *
                        static_cast<double>(longest * (k_.shape[3] + v_.shape[3]));
    return schedule::run_items(
        executor, batches_.size() * heads, work, 1,
        [](const void* task, std::size_t item, std::byte*) {
          const auto& own = *static_cast<const SideBySide*>(task);
          const auto heads = static_cast<std::size_t>(own.k_.shape[1]);
          const std::int64_t b = own.batches_[item / heads];
          const auto h = static_cast<std::int64_t>(item % heads);
          own.copy_head(own.cache_->k, own.cache_->k_scale, own.k_, b, h);
          own.copy_head(own.cache_->v, own.cache_->v_scale, own.v_, b, h);
        },
        this);
  }

 private:
  void copy_head(const TensorView& from, const TensorView& scale, const MutableTensorView& to,
                 std::int64_t b, std::int64_t h) const {
    const kernels::DecodeSet& set = kernels::decode_set();
    const auto in = static_cast<std::int64_t>(size_of(from.dtype)),
               out = static_cast<std::int64_t>(size_of(to.dtype));
    const std::int64_t rows = from.shape[2], length = cache_->lengths[static_cast<std::size_t>(b)];
    kernels::RowCopy row;
    row.from_dtype = from.dtype;
    row.from_col = from.strides[3];
    row.to_dtype = to.dtype;
    row.cols = from.shape[3];
    for (std::int64_t j = 0; j < length; ++j) {
      const bool paged = cache_->table != nullptr;
      const std::int64_t slot = paged ? cache_->table[b * cache_->table_stride + j / rows] : b,
                         at = paged ? j % rows : j;
      row.from = static_cast<const char*>(from.data) +
                 (slot * from.strides[0] + h * from.strides[1] + at * from.strides[2]) * in;
      row.to = static_cast<char*>(to.data) +
               (b * to.strides[0] + h * to.strides[1] + j * to.strides[2]) * out;
      if (scale.given()) {
        row.scale = const_cast<float*>(static_cast<const float*>(scale.data)) +
                    slot * scale.strides[0] + h * scale.strides[1] + at * scale.strides[2];
      }
      set.copy_row(row);
    }
  }

  const CacheView* cache_ = nullptr;
  MutableTensorView k_, v_;
  std::vector<std::int64_t> batches_;
  std::optional<schedule::ScratchMemory> memory_;
};

Status run(AttendCall& call, const TensorView& q, const CacheView& cache, const Options& options,
           const Outputs& outputs, std::int64_t longest, std::span<const std::int64_t> cu_q,
           const Executor& executor) {
  const auto batch = static_cast<std::int64_t>(cache.lengths.size());
  call.lengths.clear();
  for (std::size_t b = 0; b < cache.lengths.size(); ++b) {
    const std::int64_t begin = cu_q.empty() ? 0 : cu_q[b];
    call.lengths.push_back(
        {begin, cu_q.empty() ? q.shape[2] : cu_q[b + 1] - begin, cache.lengths[b]});
  }
  REGARD_RETURN_IF_ERROR(call.layout.build(options.mask, {batch, q.shape[1], q.shape[2], longest},
                                           std::nullopt, call.lengths));
  kernels::ForwardTask& task = call.task;
  task.layout = &call.layout;
  Inputs inputs{q, cache.k, cache.v};
  Outputs to = outputs;
  inputs.k.shape[2] = inputs.v.shape[2] = longest;
  if (!cu_q.empty()) {
    inputs.q = spread(q, batch);
    for (MutableTensorView* view : {&to.out, &to.maximum, &to.log_sum, &to.lse})
      *view = spread(*view, batch);
  }
  AdditiveMemory additive;
  REGARD_RETURN_IF_ERROR(prepare_pass(inputs, options, to, call.modifiers, additive, task));
  SideBySide copies;
  if (!SideBySide::lies(cache))
    REGARD_RETURN_IF_ERROR(copies.copy(cache, call.layout, longest, task.inputs, executor));
  // The kernels of pairs of bfloat16 read nothing else; those of floats read anything.
  if (task.inputs.k.dtype != q.dtype || task.inputs.v.dtype != q.dtype)
    task.set = &kernels::set_for(DType::kFloat32);
  task.decode_queries = kernels::kDecodeQueries;
  schedule::cut_forward(task);
  REGARD_RETURN_IF_ERROR(
      call.decode.prepare(task, source(cache.k, cache.k_scale), source(cache.v, cache.v_scale),
                          {cache.table, cache.table_stride, cache.k.shape[2]}, executor));
  return call.decode.run(task, work_of_pass(task), executor);
}

}  // namespace

Status attend(const TensorView& q, const CacheView& cache, const Options& options,
              const Outputs& outputs, const Executor& executor,
              std::span<const std::int64_t> cu_q) {
  std::int64_t longest = 0;
  for (const std::int64_t length : cache.lengths) longest = std::max(longest, length);
  REGARD_RETURN_IF_ERROR(check(q, cache, options, outputs, longest, cu_q));
  if (cache.lengths.empty() || q.empty()) return {};
  schedule::Borrow<AttendCall> call;
  const Status status = run(*call, q, cache, options, outputs, longest, cu_q, executor);
  call->modifiers.clear();
  call->decode.clear();
  return status;
}

}  // namespace regard
