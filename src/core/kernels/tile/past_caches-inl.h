// Rows of results that are more than caches are likely to keep, written past them: else each line
// would be fetched only to be written over.

#if defined(REGARD_KERNELS_PAST_CACHES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PAST_CACHES_INL_H_
#undef REGARD_KERNELS_PAST_CACHES_INL_H_
#else
#define REGARD_KERNELS_PAST_CACHES_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/tile/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Where rows that are written once, vector by vector, go.
enum class Through { kCaches, kPastCaches };

// Whether the gradients of keys and values together are more than what is likely to lie in a cache
// still when somebody reads them.
inline bool KeyGradientsAreFar(const BackwardTask& task) {
  constexpr std::int64_t kNearBytes = std::int64_t{8} << 20;
  const TensorView &k = task.inputs.k, &v = task.inputs.v;
  return k.shape[0] * k.shape[1] * k.shape[2] * (k.shape[3] + v.shape[3]) *
             static_cast<std::int64_t>(size_of(k.dtype)) >=
         kNearBytes;
}

// Of a head whose rows lie in whole vectors: only what is aligned can pass the caches.
template <typename T>
HWY_INLINE Through ThroughFor(const Head& to, bool far) {
  constexpr std::size_t kBytes = kLanes<T> * sizeof(T);
  const bool aligned = reinterpret_cast<std::uintptr_t>(to.base) % kBytes == 0 &&
                       static_cast<std::size_t>(to.row) * sizeof(T) % kBytes == 0;
  return far && aligned ? Through::kPastCaches : Through::kCaches;
}

template <Through kThrough, typename T>
HWY_INLINE void StoreThrough(Vec<T> x, T* to) {
  if constexpr (kThrough == Through::kPastCaches) {
    hn::Stream(x, Tag<T>(), to);
  } else {
    hn::StoreU(x, Tag<T>(), to);
  }
}

// Other threads may read what this one has written past the caches only after it.
HWY_INLINE void FinishPassing() { hwy::FlushStream(); }

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
