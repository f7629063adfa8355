// SPDX-License-Identifier: Apache-2.0
// The query rows of a work item, in groups of kRows, and the state of their online softmax: maxima,
// sums and outputs.

#if defined(REGARD_KERNELS_ROW_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_ROW_GROUPS_INL_H_
#undef REGARD_KERNELS_ROW_GROUPS_INL_H_
#else
#define REGARD_KERNELS_ROW_GROUPS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "core/kernels/carve.h"
#include "core/kernels/forward/statistics-inl.h"
#include "core/kernels/kernels.h"
#include "core/kernels/stages/sinks-inl.h"
#include "core/kernels/tile/ops-inl.h"
#include "core/kernels/tile/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where a group's state is, and which rows it holds.
struct RowGroup {
  std::size_t index;
  std::int32_t head;
  std::int64_t unit, row;  // its row unit; its first query row, in the sequence
  std::size_t rows;
};

template <class Ops>
class RowGroups {
  using T = typename Ops::T;

 public:
  static constexpr std::size_t kPerUnit = static_cast<std::size_t>(plan::kRowUnit) / kRows;
  static constexpr std::size_t kMost = kMaxUnits * kPerUnit;

  void Take(Carve& carve, std::size_t dim_v) {
    dim_v_ = dim_v;
    panels_ = (dim_v + kWidth<T> - 1) / kWidth<T>;
    groups_ = carve.Take<RowGroup>(kMost);
    out_ = carve.Take<T>(kMost * panels_ * kRows * kWidth<T>);
    sums_ = carve.Take<T>(kMost * kRows * kLanes<T>);
    maxima_ = carve.Take<T>(kMost * kRows);
    started_ = carve.Take<bool>(kMost);
    totals_ = carve.Take<T>(RoundUp(kRows, kLanes<T>));
    logs_ = carve.Take<T>(RoundUp(kRows, kLanes<T>));
  }

  // The item's groups of rows, kPerUnit for each unit of each head; the last of a sequence may have
  // no rows.
  void Find(const ForwardItem& item, const plan::Sequence& sequence) {
    count_ = 0;
    for (std::int32_t head = item.head_begin; head < item.head_end; ++head) {
      for (std::int64_t unit = item.unit_begin; unit < item.unit_end; ++unit) {
        for (std::size_t g = 0; g < kPerUnit; ++g) {
          const std::int64_t row = unit * plan::kRowUnit + static_cast<std::int64_t>(g * kRows);
          const std::int64_t rows =
              std::clamp<std::int64_t>(sequence.len_q - row, 0, static_cast<std::int64_t>(kRows));
          groups_[count_] = {count_, head, unit, row, static_cast<std::size_t>(rows)};
          ++count_;
        }
      }
    }
  }
  std::size_t count() const { return count_; }
  const RowGroup& operator[](std::size_t g) const { return groups_[g]; }

  // A group has seen no key.
  void Start(const RowGroup& group) {
    Clear(Sum(group, 0), kRows * kLanes<T>);
    std::fill_n(Maxima(group), kRows, kMinusInfinity<T>);
    started_[group.index] = false;
  }
  void MarkStarted(const RowGroup& group) { started_[group.index] = true; }
  // Whether anything has been added to the group's outputs; until then they hold no value.
  bool Started(const RowGroup& group) const { return started_[group.index]; }

  T* Maxima(const RowGroup& group) const { return maxima_ + group.index * kRows; }
  T* Sum(const RowGroup& group, std::size_t r) const {  // a vector a row
    return sums_ + (group.index * kRows + r) * kLanes<T>;
  }
  T* OutTile(const RowGroup& group, std::size_t panel) const {
    return out_ + (group.index * panels_ + panel) * kRows * kWidth<T>;
  }

  // Gives a row a new maximum and scales down what it has accumulated. Where that is nothing beside
  // what comes and all its values were finite, it is forgotten: it may have overflowed, and 0 times
  // infinity is NaN.
  void Raise(const RowGroup& group, std::size_t r, T maximum, bool finite) {
    const Tag<T> d;
    T& own = Maxima(group)[r];
    if (own != kMinusInfinity<T>) {
      const bool nothing = own - maximum < ExpEndOf<T>(0).least;
      const auto factor = hn::Set(d, nothing ? T{0} : std::exp(own - maximum));
      T* sum = Sum(group, r);
      hn::Store(hn::Mul(hn::Load(d, sum), factor), d, sum);
      for (std::size_t p = 0; Started(group) && p < panels_; ++p) {
        T* out = OutTile(group, p) + r * kWidth<T>;
        for (T* at : {out, out + kLanes<T>}) {
          const auto scaled = hn::Mul(hn::Load(d, at), factor);
          hn::Store(nothing && finite ? hn::Zero(d) : scaled, d, at);
        }
      }
    }
    own = maximum;
  }

  // Divides by the sums, which sinks may join, and writes the rows and their statistics. `zeros`
  // are dim_v of them.
  void Write(const RowGroup& group, const TensorView& sinks, const RowsView& out,
             const WrittenStatistics& statistics, const T* zeros) {
    const Tag<T> d;
    for (std::size_t r = 0; r < group.rows; ++r) {
      T& maximum = Maxima(group)[r];
      const bool nothing = !Started(group) || maximum == kMinusInfinity<T>;
      if (nothing) maximum = kMinusInfinity<T>;
      T sum = nothing ? T{0} : hn::GetLane(hn::SumOfLanes(d, hn::Load(d, Sum(group, r))));
      T numerator = T{1};
      if (sinks.given()) numerator = JoinSinks(sinks, group.head, &maximum, &sum);
      const std::int64_t i = group.row + static_cast<std::int64_t>(r);
      if (nothing) {
        WriteRow(zeros, out, i, dim_v_);
      } else {
        WritePanelRow<Ops>(OutTile(group, 0) + r * kWidth<T>, kRows * kWidth<T>, numerator / sum,
                           out, i, dim_v_);
      }
      totals_[r] = maximum == kMinusInfinity<T> ? T{1} : sum;
    }
    if (statistics.wanted())
      WriteStatistics(statistics, group.row, group.rows, Maxima(group), totals_, logs_);
  }

 private:
  std::size_t dim_v_ = 0, panels_ = 0, count_ = 0;
  RowGroup* groups_ = nullptr;
  T *out_ = nullptr, *sums_ = nullptr, *maxima_ = nullptr;
  T *totals_ = nullptr, *logs_ = nullptr;  // of the group that is written
  bool* started_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
