// SPDX-License-Identifier: Apache-2.0
// Streaming stores, for rows of results that are more than caches are likely to keep: with others
// each line would be read from memory only to be written over.

#if defined(REGARD_KERNELS_STREAMING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_STREAMING_INL_H_
#undef REGARD_KERNELS_STREAMING_INL_H_
#else
#define REGARD_KERNELS_STREAMING_INL_H_
#endif

#include "core/kernels/tile/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where rows that are written once, vector by vector, go.
enum class Stores { kCached, kStreaming };

// Of a head whose rows lie in whole vectors: only what is aligned can be streamed.
template <typename T>
HWY_INLINE Stores StoresFor(const RowsView& to, bool stream) {
  constexpr std::size_t kBytes = kLanes<T> * sizeof(T);
  const bool aligned = reinterpret_cast<std::uintptr_t>(to.base) % kBytes == 0 &&
                       static_cast<std::size_t>(to.row) * sizeof(T) % kBytes == 0;
  return stream && aligned ? Stores::kStreaming : Stores::kCached;
}

template <Stores kStores, typename T>
HWY_INLINE void StoreWith(Vec<T> x, T* to) {
  if constexpr (kStores == Stores::kStreaming) {
    hn::Stream(x, Tag<T>(), to);
  } else {
    hn::StoreU(x, Tag<T>(), to);
  }
}

// Other threads may read what this one has streamed only after it.
HWY_INLINE void FinishStreaming() { hwy::FlushStream(); }

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
