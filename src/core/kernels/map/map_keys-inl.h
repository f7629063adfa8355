// SPDX-License-Identifier: Apache-2.0
// Maps whose answer belongs to keys: sums of columns, each row times a number of its own. An item
// owns a chunk of keys and walks all rows that see it, in order, so that the sums' bits do not
// depend on the workers.

#if defined(REGARD_KERNELS_MAP_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_KEYS_INL_H_
#undef REGARD_KERNELS_MAP_KEYS_INL_H_
#else
#define REGARD_KERNELS_MAP_KEYS_INL_H_
#endif

#include "core/kernels/map/map_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

template <class Score>
class MapKeys {
  using Tiles = MapTiles<Score>;
  using T = typename Tiles::T;
  // Rows are summed in T this many units at a time, and what they give in double.
  static constexpr std::int64_t kBlock = 8;

 public:
  static std::size_t ScratchBytes(const MapTask& task) {
    Carve carve(nullptr);
    const MapKeys keys(task, carve);
    return carve.bytes();
  }
  static void Run(const MapTask& task, std::size_t item, std::byte* scratch) {
    [[maybe_unused]] const typename Score::Ops::Session session{};
    Carve carve(scratch);
    MapKeys(task, carve).RunItem(task.items[item]);
  }

 private:
  MapKeys(const MapTask& task, Carve& carve)
      : task_(task),
        tiles_(task, Tiles::kGroupsPerUnit, carve),
        vectors_(static_cast<std::size_t>(task.vectors())) {
    parts_ = carve.Take<T>(vectors_ * tiles_.chunk());
    sums_ = carve.Take<double>(vectors_ * tiles_.chunk());
    factors_ = carve.Take<T>(vectors_ * kRows);
    packed_ = carve.Take<bool>(tiles_.Panels());
  }

  void RunItem(const MapItem& item) {
    const MapRegion& region = task_.region;
    const plan::Sequence& sequence = task_.pass.layout->sequences[item.sequence];
    const auto size = static_cast<std::int64_t>(tiles_.chunk());
    const std::int64_t first_key = std::max<std::int64_t>(region.key_begin - sequence.k_begin, 0);
    chunk_ =
        std::max(item.begin * size, first_key - first_key % static_cast<std::int64_t>(kWidth<T>));
    chunk_end_ =
        std::min({(item.begin + 1) * size, region.key_end - sequence.k_begin, sequence.len_k});
    if (chunk_ >= chunk_end_) return;
    std::fill_n(sums_, vectors_ * tiles_.chunk(), 0.0);
    std::fill_n(parts_, vectors_ * tiles_.chunk(), T{0});
    for (std::int32_t head = item.head_begin; head < item.head_end; ++head) RunHead(item, head);
    Write(item, std::max(chunk_, first_key));
  }

  void RunHead(const MapItem& item, std::int32_t head) {
    const plan::Layout& layout = *task_.pass.layout;
    const MapRegion& region = task_.region;
    tiles_.Enter(item.sequence, head);
    const plan::Sequence& sequence = tiles_.sequence();
    std::fill_n(packed_, tiles_.Panels(), false);
    const std::int64_t first = std::max(region.row_begin - sequence.q_begin, std::int64_t{0});
    const std::int64_t end = std::min(region.row_end - sequence.q_begin, sequence.len_q);
    std::int64_t unit = first / plan::kRowUnit,
                 unit_end = (end + plan::kRowUnit - 1) / plan::kRowUnit;
    if (layout.mask != nullptr) {
      const auto list = item.sequence * static_cast<std::size_t>(layout.mask_heads) +
                        static_cast<std::size_t>(layout.mask_head(head));
      const MapTask::Run seen_by =
          task_.chunk_units[task_.first_chunk[list] + static_cast<std::size_t>(item.begin)];
      unit = std::max(unit, seen_by.begin);
      unit_end = std::min(unit_end, seen_by.end);
    }
    for (std::int64_t n = 0; unit < unit_end; ++unit) {
      if (!PackKeys(unit)) continue;
      for (std::size_t g = 0; g < Tiles::kGroupsPerUnit; ++g) {
        const MapGroup group = tiles_.GroupAt(g, unit);
        if (group.rows == 0 || !LoadFactors(item, head, group, first, end)) continue;
        tiles_.PackQueries(group);
        const std::size_t count = tiles_.Weigh(group, chunk_, chunk_end_);
        for (std::size_t u = 0; u < count; ++u)
          Add(tiles_.tile(u), tiles_.use(u).panel, group.rows);
      }
      if (++n % kBlock == 0) Flush();
    }
    Flush();
  }

  // Packs what rows of this unit see of the chunk; false where that is nothing.
  bool PackKeys(std::int64_t unit) {
    const auto intervals = tiles_.Intervals(unit);
    bool some = false;
    for (auto i = FirstBehind(intervals, chunk_); i != intervals.end() && i->begin < chunk_end_;
         ++i) {
      some = true;
      const std::size_t begin =
          static_cast<std::size_t>(std::max<std::int64_t>(i->begin, chunk_) - chunk_) / kWidth<T>;
      const std::size_t end =
          (static_cast<std::size_t>(std::min<std::int64_t>(i->end, chunk_end_) - chunk_) +
           kWidth<T> - 1) /
          kWidth<T>;
      for (std::size_t p = begin; p < end; ++p) {
        if (!packed_[p]) tiles_.PackPanel(chunk_, p);
        packed_[p] = true;
      }
    }
    return some;
  }

  // factors_[vector][row] of the group, 0 outside rows [first, end); false where all are 0.
  bool LoadFactors(const MapItem& item, std::int32_t head, const MapGroup& group,
                   std::int64_t first, std::int64_t end) {
    const TensorView& weights = task_.row_weights;
    const MapRegion& region = task_.region;
    bool some = false;
    for (std::size_t v = 0; v < vectors_; ++v) {
      for (std::size_t r = 0; r < kRows; ++r) {
        const std::int64_t row = group.row + static_cast<std::int64_t>(r);
        T factor = row >= first && row < end ? T{1} : T{0};
        if (factor != T{0} && weights.given()) {
          const std::int64_t at =
              (item.batch - region.batch_begin) * weights.strides[0] +
              (weights.shape[1] == 1 ? 0 : head - region.head_begin) * weights.strides[1] +
              static_cast<std::int64_t>(v) * weights.strides[2] +
              (tiles_.sequence().q_begin + row - region.row_begin) * weights.strides[3];
          factor = static_cast<const T*>(weights.data)[at];
        }
        factors_[v * kRows + r] = factor;
        some |= factor != T{0};
      }
    }
    return some;
  }

  HWY_NOINLINE void Add(const T* HWY_RESTRICT tile, std::size_t panel, std::size_t rows) {
    const Tag<T> d;
    for (std::size_t v = 0; v < vectors_; ++v) {
      T* HWY_RESTRICT to = parts_ + v * tiles_.chunk() + panel * kWidth<T>;
      auto sum0 = hn::Load(d, to), sum1 = hn::Load(d, to + kLanes<T>);
      for (std::size_t r = 0; r < rows; ++r) {
        const T factor = factors_[v * kRows + r];
        if (factor == T{0}) continue;  // a row that is left out may hold NaN
        sum0 = hn::MulAdd(hn::Set(d, factor), hn::Load(d, tile + r * kWidth<T>), sum0);
        sum1 = hn::MulAdd(hn::Set(d, factor), hn::Load(d, tile + r * kWidth<T> + kLanes<T>), sum1);
      }
      hn::Store(sum0, d, to);
      hn::Store(sum1, d, to + kLanes<T>);
    }
  }

  void Flush() {
    for (std::size_t at = 0; at < vectors_ * tiles_.chunk(); ++at)
      sums_[at] += static_cast<double>(parts_[at]);
    std::fill_n(parts_, vectors_ * tiles_.chunk(), T{0});
  }

  void Write(const MapItem& item, std::int64_t first_key) const {
    const MapRegion& region = task_.region;
    const MutableTensorView& out = task_.out;
    const double heads = task_.mean ? static_cast<double>(item.head_end - item.head_begin) : 1.0;
    for (std::size_t v = 0; v < vectors_; ++v) {
      T* to = static_cast<T*>(out.data) + (item.batch - region.batch_begin) * out.strides[0] +
              (task_.mean ? 0 : item.head_begin - region.head_begin) * out.strides[1] +
              static_cast<std::int64_t>(v) * out.strides[2];
      for (std::int64_t key = first_key; key < chunk_end_; ++key) {
        const double sum = sums_[v * tiles_.chunk() + static_cast<std::size_t>(key - chunk_)];
        to[(tiles_.sequence().k_begin + key - region.key_begin) * out.strides[3]] =
            static_cast<T>(sum / heads);
      }
    }
  }

  const MapTask& task_;
  Tiles tiles_;
  const std::size_t vectors_;
  T *parts_, *factors_;
  double* sums_;
  bool* packed_;
  std::int64_t chunk_ = 0, chunk_end_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
