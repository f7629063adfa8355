// SPDX-License-Identifier: Apache-2.0
// What becomes of weights whose answer belongs to query rows.

#if defined(REGARD_KERNELS_MAP_SINKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_MAP_SINKS_INL_H_
#undef REGARD_KERNELS_MAP_SINKS_INL_H_
#else
#define REGARD_KERNELS_MAP_SINKS_INL_H_
#endif

#include "core/kernels/map/map_picture-inl.h"
#include "core/kernels/map/map_strip-inl.h"
#include "core/kernels/map/map_top-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// The weights themselves.
template <typename T>
class TileSink {
 public:
  explicit TileSink(const MapTask& task) : task_(task) {}

  void Begin(const MapItem& item) {
    head_ = HeadOfAnswer(task_, task_.out, item);
    for (std::int64_t row = item.begin; row < item.end; ++row) {
      for (std::int64_t c = 0; c < task_.out.shape[3]; ++c) At(row, c) = T{0};
    }
  }
  void Take(const MapStrip<T>& strip, std::int64_t chunk_key) {
    const MapRegion& region = task_.region;
    for (std::size_t u = 0; u < strip.count; ++u) {
      const std::int64_t key = chunk_key + static_cast<std::int64_t>(strip.panels[u] * kWidth<T>);
      const std::int64_t from = std::max(key, region.key_begin),
                         to = std::min(key + static_cast<std::int64_t>(kWidth<T>), region.key_end);
      for (std::size_t r = strip.begin; r < strip.end && from < to; ++r) {
        RowsView place = head_;
        place.base = &At(strip.rows.At(static_cast<std::int64_t>(r)), from - region.key_begin);
        WriteRow(strip.tiles[u] + r * kWidth<T> + (from - key), place, 0,
                 static_cast<std::size_t>(to - from));
      }
    }
  }

 private:
  T& At(std::int64_t row, std::int64_t column) const {
    return static_cast<T*>(const_cast<void*>(
        head_.base))[(row - task_.region.row_begin) * head_.row + column * head_.col];
  }
  const MapTask& task_;
  RowsView head_;
};

// -sum p ln p of each row.
template <typename T>
class EntropySink {
 public:
  explicit EntropySink(const MapTask& task) : task_(task) {}

  void Begin(const MapItem& item) {
    begin_ = item.begin;
    std::fill_n(sums_, item.end - item.begin, 0.0);
  }
  void Take(const MapStrip<T>& strip) {
    const Tag<T> d;
    for (std::size_t r = strip.begin; r < strip.end; ++r) {
      auto sum = hn::Zero(d);
      for (std::size_t u = 0; u < strip.count; ++u) {
        for (std::size_t lane = 0; lane < kWidth<T>; lane += kLanes<T>) {
          const auto p = hn::Load(d, strip.tiles[u] + r * kWidth<T> + lane);
          sum = hn::Add(sum, hn::IfThenZeroElse(hn::Eq(p, hn::Zero(d)), hn::Mul(p, Logarithm(p))));
        }
      }
      sums_[strip.rows.At(static_cast<std::int64_t>(r)) - begin_] -=
          static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
    }
  }
  void End(const MapItem& item) {
    const RowsView head = HeadOfAnswer(task_, task_.out, item);
    for (std::int64_t row = item.begin; row < item.end; ++row) {
      // Never -0: an entropy of nothing is 0.
      static_cast<T*>(const_cast<void*>(head.base))[(row - task_.region.row_begin) * head.row] =
          static_cast<T>(sums_[row - item.begin]) + T{0};
    }
  }

 private:
  // NaN for NaN and what is negative.
  static HWY_INLINE Vec<T> Logarithm(Vec<T> p) {
    const Tag<T> d;
    const auto nan = hn::Set(d, std::numeric_limits<T>::quiet_NaN());
    return hn::IfThenElse(hn::Gt(p, hn::Zero(d)), hn::Log(d, p), nan);
  }
  const MapTask& task_;
  std::int64_t begin_ = 0;
  double sums_[kMaxUnits * static_cast<std::size_t>(plan::kRowUnit)];
};

// The one that the task asks for.
template <typename T>
class MapSink {
 public:
  MapSink(const MapTask& task, std::size_t chunk, Carve& carve)
      : task_(task),
        tiles_(task),
        entropy_(task),
        picture_(task, chunk, carve),
        top_(task, carve) {}

  void Begin(const MapItem& item) {
    switch (task_.kind) {
      case MapTask::Kind::kPicture: return picture_.Begin(item);
      case MapTask::Kind::kEntropy: return entropy_.Begin(item);
      case MapTask::Kind::kTop: return top_.Begin(item);
      case MapTask::Kind::kTiles:
      case MapTask::Kind::kColumnSums: return tiles_.Begin(item);
    }
  }
  // Strips up to EndChunk() count their panels from this chunk's first key. Only pictures are made
  // of keys in another order.
  void BeginChunk(const MapAxis& keys, std::int64_t count) {
    chunk_key_ = keys.first;
    if (task_.kind == MapTask::Kind::kPicture) picture_.BeginChunk(keys, count);
  }
  void Take(const MapStrip<T>& strip) {
    switch (task_.kind) {
      case MapTask::Kind::kPicture: return picture_.Take(strip);
      case MapTask::Kind::kEntropy: return entropy_.Take(strip);
      case MapTask::Kind::kTop: return top_.Take(strip, chunk_key_);
      case MapTask::Kind::kTiles:
      case MapTask::Kind::kColumnSums: return tiles_.Take(strip, chunk_key_);
    }
  }
  void EndChunk() {
    if (task_.kind == MapTask::Kind::kPicture) picture_.Flush();
  }
  void End(const MapItem& item) {
    switch (task_.kind) {
      case MapTask::Kind::kPicture: return picture_.End(item);
      case MapTask::Kind::kEntropy: return entropy_.End(item);
      case MapTask::Kind::kTop: return top_.End(item);
      case MapTask::Kind::kTiles:
      case MapTask::Kind::kColumnSums: return;
    }
  }

 private:
  const MapTask& task_;
  TileSink<T> tiles_;
  EntropySink<T> entropy_;
  PictureSink<T> picture_;
  TopSink<T> top_;
  std::int64_t chunk_key_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
