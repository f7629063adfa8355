// Asks for what the next item will read while this one is computed: short heads are over before the processor sees a pattern.

#if defined(REGARD_KERNELS_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PREFETCH_INL_H_
#undef REGARD_KERNELS_PREFETCH_INL_H_
#else
#define REGARD_KERNELS_PREFETCH_INL_H_
#endif

#include "core/kernels/kernels.h"
#include "core/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// Rows of one head, where they are few.
template <class View>
HWY_INLINE void PrefetchHead(const View& view, std::int64_t batch, std::int64_t head, std::int64_t first_row, std::int64_t rows) {
  constexpr std::int64_t kMostBytes = 16384;  // what lies in L2 and does not drive out much
  if (!view.given() || view.strides[3] != 1) return;
  const Head from = Head::of(view, batch, head, first_row);
  const auto size = static_cast<std::int64_t>(size_of(view.dtype));
  const std::int64_t bytes = view.shape[3] * size;
  if (rows * bytes > kMostBytes) return;
  for (std::int64_t r = 0; r < rows; ++r) {
    const char* row = static_cast<const char*>(from.base) + r * from.row * size;
    for (std::int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
  }
}

inline HWY_NOINLINE void PrefetchItem(const ForwardTask& task, const ForwardItem& item) {
  const plan::Sequence& sequence = task.layout->sequences[static_cast<std::size_t>(item.sequence)];
  for (std::int32_t head = item.head_begin; head < item.head_end; ++head) {
    PrefetchHead(task.inputs.q, sequence.batch, head, sequence.q_begin, sequence.len_q);
  }
  PrefetchHead(task.inputs.k, sequence.batch, item.kv_head, sequence.k_begin, sequence.len_k);
  PrefetchHead(task.inputs.v, sequence.batch, item.kv_head, sequence.k_begin, sequence.len_k);
}

inline HWY_NOINLINE void PrefetchItem(const BackwardTask& task, const BackwardItem& item) {
  const plan::Sequence& sequence = task.layout->sequences[static_cast<std::size_t>(item.sequence_begin)];
  PrefetchHead(task.inputs.k, sequence.batch, item.kv_begin, sequence.k_begin, sequence.len_k);
  PrefetchHead(task.inputs.v, sequence.batch, item.kv_begin, sequence.k_begin, sequence.len_k);
  for (std::int64_t head = item.kv_begin * task.group; head < (item.kv_begin + 1) * task.group; ++head) {
    PrefetchHead(task.inputs.q, sequence.batch, head, sequence.q_begin, sequence.len_q);
    PrefetchHead(task.inputs.out, sequence.batch, head, sequence.q_begin, sequence.len_q);
    PrefetchHead(task.inputs.d_out, sequence.batch, head, sequence.q_begin, sequence.len_q);
  }
}

template <class Task>
HWY_INLINE void PrefetchNext(const Task& task, std::size_t item) {
  if (item + 1 < task.items.size()) PrefetchItem(task, task.items[item + 1]);
}

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
