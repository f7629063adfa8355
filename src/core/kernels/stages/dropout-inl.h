// SPDX-License-Identifier: Apache-2.0
// weight <- 0 or weight / (1 - p), by a hash of (seed, batch, head, query, key).

#if defined(REGARD_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_DROPOUT_INL_H_
#undef REGARD_KERNELS_DROPOUT_INL_H_
#else
#define REGARD_KERNELS_DROPOUT_INL_H_
#endif

#include "core/kernels/dropout_hash.h"
#include "core/kernels/kernels.h"
#include "core/kernels/stages/score_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// factors <- 0 where the hash is below the threshold, else factors / (1 - p). Queries hash once a
// row or lane, keys likewise; the two words of a pair are mixed in as many steps as its bits need.
template <typename T>
HWY_NOINLINE void ApplyFactor(const Dropout& dropout, const Stage& stage, const ScoreTile<T>& tile,
                              T* HWY_RESTRICT factors) {
  const DropoutHash hash(dropout.seed, tile.batch, tile.head);
  const std::uint32_t threshold = DropoutThreshold(dropout.p);
  const T kept = static_cast<T>(dropout.p < 1 ? 1 / (1 - dropout.p) : 0);
  constexpr std::size_t kMost = kWidth < T >> kRows ? kWidth<T> : kRows;
  std::uint32_t first[kMost] = {}, second[kMost] = {}, keys[kMost] = {};
  for (std::size_t i = 0; i < tile.queries(); ++i) {
    const std::uint64_t word =
        hash.Query(stage.query_begin + tile.query + static_cast<std::int64_t>(i));
    first[i] = static_cast<std::uint32_t>(word);
    second[i] = static_cast<std::uint32_t>(word >> 32);
  }
  for (std::size_t j = 0; j < tile.keys(); ++j)
    keys[j] = hash.Key(stage.key_begin + tile.key + static_cast<std::int64_t>(j));
  // Whole rows, one kind of loop at a time: the compiler turns these into vectors.
  for (std::size_t r = 0; r < tile.rows; ++r) {
    std::uint32_t bits[kWidth<T>];
    if (tile.rows_are_keys) {
      for (std::size_t c = 0; c < kWidth<T>; ++c)
        bits[c] = DropoutHash::Pair(first[c], second[c], keys[r]);
    } else {
      for (std::size_t c = 0; c < kWidth<T>; ++c)
        bits[c] = DropoutHash::Pair(first[r], second[r], keys[c]);
    }
    T* HWY_RESTRICT row = factors + r * kWidth<T>;
    for (std::size_t c = 0; c < kWidth<T>; ++c) row[c] *= bits[c] < threshold ? T{0} : kept;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
