// SPDX-License-Identifier: Apache-2.0
// Operators over caches in tensors (regard/cache.h), and over tables of pages.
#include "regard/cache.h"

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "torch_ops/executor.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

// The numbers of a one-dimensional tensor, int32 or int64.
Ints numbers(const Tensor& tensor, const char* name) {
  const Described d(tensor, name);
  if (d.rank != 1 || (d.dtype != DType::kInt32 && d.dtype != DType::kInt64)) {
    throw std::invalid_argument(std::string(name) +
                                ": expected one dimension of int32 or int64 numbers");
  }
  Ints values;
  for (std::int64_t i = 0; i < d.sizes[0]; ++i) {
    const std::int64_t at = i * d.strides[0];
    values.push_back(d.dtype == DType::kInt64 ? static_cast<const std::int64_t*>(d.data)[at]
                                              : static_cast<const std::int32_t*>(d.data)[at]);
  }
  return values;
}

// A cache's tensors as a view, and what the view points at.
struct Cached {
  MutableCacheView view;
  Ints lengths;

  Cached(const Tensor& k_cache, const Tensor& v_cache, const std::optional<Tensor>& k_scale,
         const std::optional<Tensor>& v_scale, const Tensor& of_lengths,
         const std::optional<Tensor>& block_table, AxisOrder order) {
    if (order == AxisOrder::kThd)
      throw std::invalid_argument("cache: layout thd; expected bhsd or bshd");
    view.k = of_rank_4(k_cache, "k_cache", order);
    view.v = of_rank_4(v_cache, "v_cache", order);
    if (k_scale) view.k_scale = scales(*k_scale, "k_scale", order);
    if (v_scale) view.v_scale = scales(*v_scale, "v_scale", order);
    lengths = numbers(of_lengths, "lengths");
    view.lengths = lengths;
    if (!block_table) return;
    const Described table(*block_table, "block_table");
    if (table.rank != 2 || table.dtype != DType::kInt32 ||
        (table.sizes[1] > 1 && table.strides[1] != 1) ||
        table.sizes[0] != static_cast<std::int64_t>(lengths.size())) {
      throw std::invalid_argument(
          "block_table: expected int32 (sequences, pages of each), its rows without gaps, and one "
          "row for each of lengths");
    }
    view.table = static_cast<const std::int32_t*>(table.data);
    view.table_stride = table.sizes[0] > 1 ? table.strides[0] : table.sizes[1];
    if (view.table_stride != table.sizes[1])
      throw std::invalid_argument("block_table: its rows lie apart; expected a contiguous tensor");
  }

 private:
  static MutableTensorView of_rank_4(const Tensor& tensor, const char* name, AxisOrder order) {
    const Described described(tensor, name);
    if (described.rank != 4)
      throw std::invalid_argument(std::string(name) + ": has " + std::to_string(described.rank) +
                                  " dimensions, expected 4");
    return axes_view(described, order, name);
  }
  // (slots, heads, rows), or (slots, rows, heads).
  static MutableTensorView scales(const Tensor& tensor, const char* name, AxisOrder order) {
    const Described d(tensor, name);
    if (d.rank != 3)
      throw std::invalid_argument(std::string(name) + ": has " + std::to_string(d.rank) +
                                  " dimensions, expected 3");
    const int heads = order == AxisOrder::kBhsd ? 1 : 2, rows = 3 - heads;
    return {d.data,
            d.dtype,
            {d.sizes[0], d.sizes[heads], d.sizes[rows], 1},
            {d.strides[0], d.strides[heads], d.strides[rows], 1}};
  }
};

// Tables of pages by their handles, which no two ever share.
class Tables {
 public:
  std::int64_t keep(PageTable table) {
    const std::lock_guard lock(mutex_);
    tables_.emplace(++last_, std::make_shared<PageTable>(std::move(table)));
    return last_;
  }
  std::shared_ptr<PageTable> at(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = tables_.find(handle);
    if (found == tables_.end()) {
      throw std::invalid_argument("pages: there is no table " + std::to_string(handle));
    }
    return found->second;
  }
  void drop(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    tables_.erase(handle);
  }

  static Tables& all() {
    static Tables* const instance = new Tables;  // outlives whoever drops a table at exit
    return *instance;
  }

 private:
  std::mutex mutex_;
  std::map<std::int64_t, std::shared_ptr<PageTable>> tables_;
  std::int64_t last_ = 0;
};

}  // namespace

void cache_append(Tensor key, Tensor value, Tensor k_cache, Tensor v_cache,
                  std::optional<Tensor> k_scale, std::optional<Tensor> v_scale, Tensor lengths,
                  std::optional<Tensor> counts, std::optional<Tensor> block_table,
                  std::int64_t order, std::int64_t cache_order) {
  const Cached cache(k_cache, v_cache, k_scale, v_scale, lengths, block_table,
                     axis_order(cache_order));
  const AxisOrder axes = axis_order(order);
  Ints rows;
  if (counts) rows = numbers(*counts, "counts");
  raise_if_failed(append(as_const(axes_view(Described(key, "key"), axes, "key")),
                         as_const(axes_view(Described(value, "value"), axes, "value")), cache.view,
                         rows));
}

std::tuple<Tensor, Tensor> cache_attend(Tensor query, Tensor k_cache, Tensor v_cache,
                                        std::optional<Tensor> k_scale,
                                        std::optional<Tensor> v_scale, Tensor lengths,
                                        std::optional<Tensor> block_table,
                                        std::optional<Tensor> cu_q, Ints ints, Floats floats,
                                        Tensors tensors, std::int64_t order,
                                        std::int64_t cache_order) {
  const Cached cache(k_cache, v_cache, k_scale, v_scale, lengths, block_table,
                     axis_order(cache_order));
  const AxisOrder axes = axis_order(order);
  const Described described(query, "query");
  const MutableTensorView q = axes_view(described, axes, "query");
  std::vector<std::int64_t> sizes(described.sizes, described.sizes + described.rank);
  sizes.back() = cache.view.v.shape[3];
  Tensor out = make_tensor(sizes.data(), described.rank, q.dtype);
  const std::array<std::int64_t, 3> rows{q.shape[0], q.shape[1], q.shape[2]};
  const std::int64_t rank = axes == AxisOrder::kThd ? 2 : described.rank - 1;
  Tensor lse = make_tensor(rows.data() + (3 - rank), rank, DType::kFloat32);
  Outputs outputs;
  outputs.out = axes_view(Described(out, "out"), axes, "out");
  outputs.lse = row_view(Described(lse, "lse"), "lse");
  Ints packed;
  if (cu_q) packed = numbers(*cu_q, "cu_q");
  raise_if_failed(attend(as_const(q), as_const(cache.view), decode_options(ints, floats, tensors),
                         outputs, TorchExecutor(), packed));
  return {out, lse};
}

std::int64_t pages_make(std::int64_t pages, std::int64_t page_size) {
  PageTable table;
  raise_if_failed(PageTable::make(pages, page_size, &table));
  return Tables::all().keep(std::move(table));
}

void pages_drop(std::int64_t handle) { Tables::all().drop(handle); }

std::int64_t pages_add(std::int64_t handle) { return Tables::all().at(handle)->add(); }

std::int64_t pages_fork(std::int64_t handle, std::int64_t sequence, std::int64_t length) {
  std::int64_t made = -1;
  raise_if_failed(Tables::all().at(handle)->fork(sequence, length, &made));
  return made;
}

void pages_free(std::int64_t handle, std::int64_t sequence) {
  raise_if_failed(Tables::all().at(handle)->free(sequence));
}

void pages_truncate(std::int64_t handle, std::int64_t sequence, std::int64_t length) {
  raise_if_failed(Tables::all().at(handle)->truncate(sequence, length));
}

std::int64_t pages_count_free(std::int64_t handle) {
  return Tables::all().at(handle)->free_pages();
}

Tensor pages_reserve(std::int64_t handle, Ints sequences, Ints counts) {
  std::vector<PageTable::Copy> copies;
  raise_if_failed(Tables::all().at(handle)->reserve(sequences, counts, &copies));
  const std::array<std::int64_t, 2> sizes{2, static_cast<std::int64_t>(copies.size())};
  Tensor result = make_tensor(sizes.data(), 2, DType::kInt64);
  auto* to = static_cast<std::int64_t*>(Described(result, "copies").data);
  for (std::size_t n = 0; n < copies.size(); ++n) {
    to[n] = copies[n].from;
    to[copies.size() + n] = copies[n].to;
  }
  return result;
}

std::tuple<Tensor, Tensor> pages_table(std::int64_t handle, Ints sequences) {
  const std::shared_ptr<PageTable> table = Tables::all().at(handle);
  for (const std::int64_t sequence : sequences) {
    if (!table->has(sequence)) {
      throw std::invalid_argument("sequences: there is no " + std::to_string(sequence) +
                                  "; expected what add() or fork() gave");
    }
  }
  const std::array<std::int64_t, 2> sizes{static_cast<std::int64_t>(sequences.size()),
                                          std::max<std::int64_t>(1, table->width(sequences))};
  Tensor rows = make_tensor(sizes.data(), 2, DType::kInt32),
         lengths = make_tensor(sizes.data(), 1, DType::kInt64);
  table->write_table(sequences, static_cast<std::int32_t*>(Described(rows, "table").data),
                     sizes[1]);
  auto* to = static_cast<std::int64_t*>(Described(lengths, "lengths").data);
  for (std::size_t n = 0; n < sequences.size(); ++n) to[n] = table->length(sequences[n]);
  return {rows, lengths};
}

}  // namespace regard::torch_ops
