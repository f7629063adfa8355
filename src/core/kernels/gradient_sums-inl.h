// The sums of gradients in the backward pass: of the keys of a block, while chunks of queries pass by, and of the queries of a chunk over
// the block. Where all of a row comes at once (short sequences), tiles write it to the tensor themselves.

#if defined(REGARD_KERNELS_GRADIENT_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#undef REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#else
#define REGARD_KERNELS_GRADIENT_SUMS_INL_H_
#endif

#include <algorithm>

#include "core/kernels/carve.h"
#include "core/kernels/results-inl.h"
#include "core/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Of some rows of one tensor: what their gradients are multiplied with at the end, and where they go.
template <class Ops>
struct GradientRows {
  using T = typename Ops::T;

  Head to;             // no base: nobody asks for them
  std::int64_t first;  // of the tensor's head
  std::size_t dim;
  T factor;

  bool wanted() const { return to.base != nullptr; }
  // Whether tiles can write to the tensor.
  bool InPlace() const { return wanted() && to.col == 1 && dim % kLanes<T> == 0 && to.order == nullptr && InKernelWidth<T>(to.dtype); }
  // What a tile of `rows` rows from row i on does with panel c; `memory` has room for it.
  TileEnd<T> End(T* memory, std::size_t i, std::size_t c, std::size_t rows) const {
    const std::int64_t place = to.At(first + static_cast<std::int64_t>(i)) + static_cast<std::int64_t>(c * kWidth<T>);
    return {memory, false, rows, factor, to.dtype, const_cast<void*>(to.base), place, to.row};
  }
  void Write(const T* HWY_RESTRICT from, std::size_t panel, std::size_t i) const {
    WritePanelRow<Ops>(from, panel, factor, to, first + static_cast<std::int64_t>(i), dim);
  }
};

// dk or dv of a block: tiles of kRows keys, [group][panel][kRows][kWidth].
template <class Ops>
class KeySums {
  using T = typename Ops::T;

 public:
  void Take(Carve& carve, std::size_t groups, std::size_t panels) {
    panels_ = panels;
    sums_ = carve.Take<T>(groups * panels * kRows * kWidth<T>);
    started_ = carve.Take<bool>(groups);
  }

  // A block begins. `at_once`: one chunk of queries and one sub-block of keys are all there is.
  void Start(const GradientRows<Ops>& rows, std::size_t groups, bool at_once) {
    rows_ = rows;
    in_place_ = at_once && rows.InPlace();
    for (std::size_t g = 0; g < groups; ++g) started_[g] = false;
  }
  bool wanted() const { return rows_.wanted(); }
  std::size_t dim() const { return rows_.dim; }

  // What a product of `n` keys of group g does with panel c.
  TileEnd<T> End(std::size_t g, std::size_t c, std::size_t n) const {
    T* sums = sums_ + (g * panels_ + c) * kRows * kWidth<T>;
    return in_place_ ? rows_.End(sums, g * kRows, c, n) : TileEnd<T>{sums, started_[g]};
  }
  // Group g has been added to, all its panels.
  void MarkStarted(std::size_t g) { started_[g] = true; }

  // Writes the gradients of the block's `keys` keys, and zeros for those behind, of which nobody reads anything, up to `owned`.
  void Write(std::size_t keys, std::size_t owned, const T* zeros) const {
    if (!wanted()) return;
    for (std::size_t j = 0; j < owned; ++j) {
      const bool summed = j < keys && started_[j / kRows];
      if (summed && in_place_) continue;
      const std::int64_t key = rows_.first + static_cast<std::int64_t>(j);
      if (rows_.to.col == 1 && j + kRowsAhead < owned) PrefetchRow<true>(rows_.to, key + static_cast<std::int64_t>(kRowsAhead), rows_.dim);
      if (summed) {
        rows_.Write(sums_ + (j / kRows * panels_ * kRows + j % kRows) * kWidth<T>, kRows * kWidth<T>, j);
      } else {
        WriteRow(zeros, rows_.to, key, rows_.dim);
      }
    }
  }

 private:
  std::size_t panels_ = 0;
  T* sums_ = nullptr;
  bool* started_ = nullptr;
  bool in_place_ = false;
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
    started_ = carve.Take<bool>(queries / kWidth<T>);
  }

  // A chunk begins. `at_once`: one block, of one sub-block, is all that its queries see.
  void Start(const GradientRows<Ops>& rows, bool at_once) {
    rows_ = rows;
    in_place_ = at_once && rows.InPlace();
    for (std::size_t p = 0; p < queries_ / kWidth<T>; ++p) started_[p] = false;
  }
  bool wanted() const { return rows_.wanted(); }

  // Whether something has come to query panel p.
  bool started(std::size_t p) const { return started_[p]; }
  // What a product of `n` queries from `query` on does with panel c. They lie in query panel p, and in those behind as far as started() is
  // the same.
  TileEnd<T> End(std::size_t p, std::size_t query, std::size_t c, std::size_t n) const {
    T* sums = sums_ + (c * queries_ + query) * kWidth<T>;
    return in_place_ ? rows_.End(sums, query, c, n) : TileEnd<T>{sums, started_[p]};
  }
  void MarkStarted(std::size_t p) { started_[p] = true; }

  // Where row `query` begins, its panels panel_step() apart.
  T* Row(std::size_t query) const { return sums_ + query * kWidth<T>; }
  std::size_t panel_step() const { return queries_ * kWidth<T>; }
  // Zeros where nothing has come, for sums that are added to or read row by row.
  void FillUp(std::size_t queries) {
    for (std::size_t p = 0; p * kWidth<T> < queries; ++p) {
      if (started_[p]) continue;
      for (std::size_t c = 0; c < panels_; ++c) Clear(sums_ + (c * queries_ + p * kWidth<T>)*kWidth<T>, kWidth<T> * kWidth<T>);
      started_[p] = true;
    }
  }
  // Row `query`, on top of what lies in `before` where that is given, into `to`.
  void WriteOnto(std::size_t query, const Head* before, const Head& to) const {
    const std::int64_t i = rows_.first + static_cast<std::int64_t>(query);
    if (before == nullptr) return WritePanelRow<Ops>(Row(query), panel_step(), rows_.factor, to, i, rows_.dim);
    WritePanelRow<Ops, true>(Row(query), panel_step(), rows_.factor, to, i, rows_.dim, before);
  }
  // Writes `queries` rows, all of which has come.
  void Write(std::size_t queries, const T* zeros) const {
    for (std::size_t i = 0; i < queries; ++i) {
      if (!started_[i / kWidth<T>]) {
        WriteRow(zeros, rows_.to, rows_.first + static_cast<std::int64_t>(i), rows_.dim);
      } else if (!in_place_) {
        rows_.Write(Row(i), panel_step(), i);
      }
    }
  }

 private:
  std::size_t queries_ = 0, panels_ = 0;
  T* sums_ = nullptr;
  bool* started_ = nullptr;
  bool in_place_ = false;
  GradientRows<Ops> rows_{};
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
