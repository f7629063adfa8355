// SPDX-License-Identifier: Apache-2.0
// The sums of gradients in the backward pass: of the keys of a block, over the chunks of queries,
// and of the queries of a chunk, over the block. The last product for a row adds the partial sum
// and stores directly to the tensor.

#if defined(REGARD_KERNELS_GRADIENT_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#undef REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#else
#define REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/tile/results-inl.h"
#include "core/kernels/tile/rows-inl.h"
#include "core/kernels/tile/streaming-inl.h"
#include "core/kernels/tile/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Of some rows of one tensor: what their gradients are multiplied with at the end, and where they
// go.
template <class Ops>
struct GradientRows {
  using T = typename Ops::T;

  RowsView to;         // no base: nobody asks for them
  std::int64_t first;  // of the tensor's head
  std::size_t dim;
  T factor;
  bool stream = false;  // whole rows of them take streaming stores

  bool wanted() const { return to.base != nullptr; }
  // Whether tiles can write to the tensor.
  bool InPlace() const {
    return wanted() && to.col == 1 && dim % kLanes<T> == 0 && to.order == nullptr &&
           InKernelWidth<T>(to.dtype);
  }
  // What the last tile of `rows` rows from row i on does with panel c.
  TileEnd<T> End(T* sums, bool add, std::size_t i, std::size_t c, std::size_t rows) const {
    const std::int64_t at =
        to.At(first + static_cast<std::int64_t>(i)) + static_cast<std::int64_t>(c * kWidth<T>);
    return {sums, add, rows, factor, to.dtype, const_cast<void*>(to.base), at, to.row};
  }
  void Write(const T* HWY_RESTRICT from, std::size_t panel, std::size_t i) const {
    WritePanelRow<Ops>(from, panel, factor, to, first + static_cast<std::int64_t>(i), dim);
  }
};

// `n` rows, each a sum of `count` rows of whole vectors times its weights, in their order: as a
// product's tile has them.
template <Stores kStores, typename T>
HWY_NOINLINE void WriteWeightedRows(const T* HWY_RESTRICT weights, std::size_t step, std::size_t n,
                                    Rows<T> rows, std::size_t count, std::size_t cols, T factor,
                                    T* HWY_RESTRICT to, std::int64_t stride) {
  const Tag<T> d;
  for (std::size_t j = 0; j < n; ++j, weights += step, to += stride) {
    for (std::size_t c = 0; c < cols; c += kLanes<T>) {
      auto sum = hn::Zero(d);
      for (std::size_t i = 0; i < count; ++i) {
        sum = hn::MulAdd(hn::Set(d, weights[i]),
                         hn::LoadU(d, rows.row(static_cast<std::int64_t>(i)).data + c), sum);
      }
      StoreWith<kStores, T>(Finished(d, sum, factor), to + c);
    }
  }
}

// How far the sums of a group of rows are.
enum class SumState : std::uint8_t { kNothing, kSummed, kWritten };

// dk or dv of a block: tiles of kRows keys, [group][panel][kRows][kWidth].
template <class Ops>
class KeySums {
  using T = typename Ops::T;

 public:
  void Take(Carve& carve, std::size_t groups, std::size_t panels) {
    panels_ = panels;
    sums_ = carve.Take<T>(groups * panels * kRows * kWidth<T>);
    states_ = carve.Take<SumState>(groups);
  }

  // A block begins.
  void Start(const GradientRows<Ops>& rows, std::size_t groups) {
    rows_ = rows;
    in_place_ = rows.InPlace();
    to_tensor_ = false;
    std::fill_n(states_, groups, SumState::kNothing);
  }
  // Whether nothing will come to the block behind the next products.
  void ExpectLast(bool last) { to_tensor_ = last && in_place_; }
  bool wanted() const { return rows_.wanted(); }
  std::size_t dim() const { return rows_.dim; }

  // What a product of `n` keys of group g does with panel c.
  TileEnd<T> End(std::size_t g, std::size_t c, std::size_t n) const {
    T* sums = Sums(g) + c * kRows * kWidth<T>;
    const bool add = states_[g] == SumState::kSummed;
    return to_tensor_ ? rows_.End(sums, add, g * kRows, c, n) : TileEnd<T>{sums, add};
  }
  // A product has come to group g, to all its panels.
  void MarkAdded(std::size_t g) {
    states_[g] = to_tensor_ ? SumState::kWritten : SumState::kSummed;
  }

  // Instead of products, for few queries in one panel, of which groups [group, group + groups) of
  // the block's first `keys` keys see seen[g]: rows go straight to the tensor. Returns whether that
  // can be done. `weights` has a row for each key, `step` apart.
  bool WriteRows(std::size_t group, std::size_t groups, std::size_t keys, const Runs* seen,
                 const T* weights, std::size_t step, Rows<T> rows, std::size_t count) {
    if (!to_tensor_ || rows_.to.dtype != OwnDType<T>() || count > kWidth<T>) return false;
    if (std::any_of(states_ + group, states_ + group + groups,
                    [](SumState state) { return state != SumState::kNothing; }))
      return false;
    const auto write = StoresFor<T>(rows_.to, rows_.stream) == Stores::kStreaming
                           ? &WriteWeightedRows<Stores::kStreaming, T>
                           : &WriteWeightedRows<Stores::kCached, T>;
    for (std::size_t g = 0; g < groups; ++g) {
      if (seen[g].count == 0) continue;
      const std::size_t key = (group + g) * kRows;
      T* to = static_cast<T*>(const_cast<void*>(rows_.to.base)) +
              rows_.to.At(rows_.first + static_cast<std::int64_t>(key));
      write(weights + g * kRows * step, step, std::min(kRows, keys - key), rows, count, rows_.dim,
            rows_.factor, to, rows_.to.row);
      states_[group + g] = SumState::kWritten;
    }
    return true;
  }

  // Writes what tiles have not: the gradients of the block's `keys` keys, and zeros for those
  // behind, of which nobody reads anything, up to `owned`.
  void Write(std::size_t keys, std::size_t owned, const T* zeros) const {
    if (!wanted()) return;
    for (std::size_t begin = 0; begin < owned; begin += kRows) {
      const std::size_t g = begin / kRows, end = std::min(owned, begin + kRows);
      if (end <= keys && states_[g] == SumState::kWritten) continue;
      for (std::size_t j = begin; j < end; ++j) {
        const std::int64_t key = rows_.first + static_cast<std::int64_t>(j);
        if (rows_.to.col == 1 && j + kRowsAhead < owned) {
          PrefetchRow<true>(rows_.to, key + static_cast<std::int64_t>(kRowsAhead), rows_.dim);
        }
        if (j >= keys || states_[g] == SumState::kNothing) {
          WriteRow(zeros, rows_.to, key, rows_.dim);
        } else if (states_[g] == SumState::kSummed) {
          rows_.Write(Sums(g) + j % kRows * kWidth<T>, kRows * kWidth<T>, j);
        }
      }
    }
  }

 private:
  T* Sums(std::size_t g) const { return sums_ + g * panels_ * kRows * kWidth<T>; }

  std::size_t panels_ = 0;
  T* sums_ = nullptr;
  SumState* states_ = nullptr;
  bool in_place_ = false, to_tensor_ = false;
  GradientRows<Ops> rows_{};
};

// dq of a chunk: [panel][query][kWidth], so that a tile may begin at any query.
template <class Ops>
class QuerySums {
  using T = typename Ops::T;

 public:
  void Take(Carve& carve, std::size_t queries, std::size_t panels) {
    queries_ = queries;
    panels_ = panels;
    sums_ = carve.Take<T>(queries * panels * kWidth<T>);
    states_ = carve.Take<SumState>(queries / kWidth<T>);
  }

  // A chunk begins.
  void Start(const GradientRows<Ops>& rows) {
    rows_ = rows;
    in_place_ = rows.InPlace();
    to_tensor_ = false;
    std::fill_n(states_, queries_ / kWidth<T>, SumState::kNothing);
  }
  // Whether nothing will come to the chunk behind the next products, of this block or another.
  void ExpectLast(bool last) { to_tensor_ = last && in_place_; }
  bool wanted() const { return rows_.wanted(); }

  SumState state(std::size_t p) const { return states_[p]; }
  // What a product of `n` queries from `query` on does with panel c. They lie in query panel p, and
  // in those behind as far as state() is the same.
  TileEnd<T> End(std::size_t p, std::size_t query, std::size_t c, std::size_t n) const {
    T* sums = sums_ + (c * queries_ + query) * kWidth<T>;
    const bool add = states_[p] == SumState::kSummed;
    return to_tensor_ ? rows_.End(sums, add, query, c, n) : TileEnd<T>{sums, add};
  }
  void MarkAdded(std::size_t p) {
    states_[p] = to_tensor_ ? SumState::kWritten : SumState::kSummed;
  }

  // Where row `query` begins, its panels panel_step() apart.
  T* Row(std::size_t query) const { return sums_ + query * kWidth<T>; }
  std::size_t panel_step() const { return queries_ * kWidth<T>; }
  // Zeros where nothing has come, for sums that are added to or read row by row: of the chunk's
  // `queries` rows.
  void FillUp(std::size_t queries) {
    for (std::size_t p = 0, first = 0; first < queries; ++p, first += kWidth<T>) {
      if (states_[p] != SumState::kNothing) continue;
      const std::size_t rows = std::min(kWidth<T>, queries - first);
      for (std::size_t c = 0; c < panels_; ++c)
        Clear(sums_ + (c * queries_ + first) * kWidth<T>, rows * kWidth<T>);
      states_[p] = SumState::kSummed;
    }
  }
  // Row `query`, on top of what lies in `before` where that is given, into `to`.
  void WriteOnto(std::size_t query, const RowsView* before, const RowsView& to) const {
    const std::int64_t i = rows_.first + static_cast<std::int64_t>(query);
    if (before == nullptr)
      return WritePanelRow<Ops>(Row(query), panel_step(), rows_.factor, to, i, rows_.dim);
    WritePanelRow<Ops, true>(Row(query), panel_step(), rows_.factor, to, i, rows_.dim, before);
  }
  // Writes what tiles have not of `queries` rows, all of which has come.
  void Write(std::size_t queries, const T* zeros) const {
    for (std::size_t i = 0; i < queries; ++i) {
      const SumState state = states_[i / kWidth<T>];
      if (state == SumState::kNothing) {
        WriteRow(zeros, rows_.to, rows_.first + static_cast<std::int64_t>(i), rows_.dim);
      } else if (state == SumState::kSummed) {
        rows_.Write(Row(i), panel_step(), i);
      }
    }
  }

 private:
  std::size_t queries_ = 0, panels_ = 0;
  T* sums_ = nullptr;
  SumState* states_ = nullptr;
  bool in_place_ = false, to_tensor_ = false;
  GradientRows<Ops> rows_{};
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
