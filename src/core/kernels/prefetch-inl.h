// Asks for what the next item reads and writes while this one is computed: short heads are over before the processor sees a pattern.

#if defined(REGARD_KERNELS_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PREFETCH_INL_H_
#undef REGARD_KERNELS_PREFETCH_INL_H_
#else
#define REGARD_KERNELS_PREFETCH_INL_H_
#endif

#include <algorithm>

#include "core/kernels/kernels.h"
#include "core/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A few rows at a time, between this item's tiles: a processor keeps some tens of lines waiting, and stands still when it is asked for
// more.
class NextItem {
 public:
  // Item `item` begins.
  void Start(const ForwardTask& task, std::size_t item) {
    Clear();
    if (++item == task.items.size()) return;
    const ForwardItem& next = task.items[item];
    const plan::Sequence& s = task.layout->sequences[static_cast<std::size_t>(next.sequence)];
    Add<false>(task.inputs.k, s.batch, next.kv_head, s.k_begin, s.len_k);
    Add<false>(task.inputs.v, s.batch, next.kv_head, s.k_begin, s.len_k);
    for (std::int32_t head = next.head_begin; head < next.head_end; ++head) {
      Add<false>(task.inputs.q, s.batch, head, s.q_begin, s.len_q);
      Add<true>(task.outputs.out, s.batch, head, s.q_begin, s.len_q);
    }
    const std::int64_t panels = (s.len_k + task.inputs.v.shape[3]) / kPanel;
    Share(task.items.size(), panels * ((s.len_q + kRows - 1) / kRows) * (next.head_end - next.head_begin));
  }
  void Start(const BackwardTask& task, std::size_t item) {
    Clear();
    if (++item == task.items.size()) return;
    const BackwardItem& next = task.items[item];
    const plan::Sequence& s = task.layout->sequences[static_cast<std::size_t>(next.sequence_begin)];
    Add<false>(task.inputs.k, s.batch, next.kv_begin, s.k_begin, s.len_k);
    Add<false>(task.inputs.v, s.batch, next.kv_begin, s.k_begin, s.len_k);
    for (std::int64_t head = next.kv_begin * task.group; head < (next.kv_begin + 1) * task.group; ++head) {
      Add<false>(task.inputs.q, s.batch, head, s.q_begin, s.len_q);
      Add<false>(task.inputs.d_out, s.batch, head, s.q_begin, s.len_q);
      Add<false>(task.inputs.out, s.batch, head, s.q_begin, s.len_q);
      Add<true>(task.gradients.dq, s.batch, head, s.q_begin, s.len_q);
    }
    Add<true>(task.gradients.dk, s.batch, next.kv_begin, s.k_begin, s.len_k);
    Add<true>(task.gradients.dv, s.batch, next.kv_begin, s.k_begin, s.len_k);
    const std::int64_t panels = (s.len_q + task.inputs.q.shape[3] * 2 + task.inputs.v.shape[3]) / kPanel;
    Share(task.items.size(), panels * ((s.len_k + kRows - 1) / kRows) * task.group);
  }

  // Between tiles.
  HWY_INLINE void Step() {
    if (at_ < count_) Ask();
  }

 private:
  // Bytes of one head of a tensor: more would not lie in L2 beside the others, and drive out what this item needs. (Processors with AVX-512
  // have an L2 of 1 MiB or more.) Few that are written wait in the processor's queue of stores, and hold nothing up.
  static constexpr std::int64_t kMostBytes = HWY_TARGET <= HWY_AVX3 ? 65536 : 32768, kFewBytes = 2048;
  // Of all heads together: less lies in L2 already, if it was used lately.
  static constexpr std::int64_t kNearBytes = 524288;
  static constexpr std::int64_t kLine = 64, kPanel = static_cast<std::int64_t>(kWidth<float>);
  static constexpr std::size_t kMostTensors = 16;

  struct Lines {
    const char* row;
    std::int64_t stride, rows, in_row;
    bool written;
  };

  void Clear() {
    count_ = at_ = 0;
    lines_ = 0;
  }
  template <bool kWritten, class View>
  void Add(const View& view, std::int64_t batch, std::int64_t head, std::int64_t first_row, std::int64_t rows) {
    if (!view.given() || view.strides[3] != 1 || count_ == kMostTensors) return;
    const auto size = static_cast<std::int64_t>(size_of(view.dtype));
    std::int64_t in_row = (view.shape[3] * size + kLine - 1) / kLine, stride = view.strides[2] * size;
    const std::int64_t bytes = rows * in_row * kLine;
    if (bytes == 0 || bytes > kMostBytes || (kWritten && bytes <= kFewBytes)) return;
    lines_ += rows * in_row;
    // Rows without gaps are longer ones.
    for (; stride == in_row * kLine && rows % 2 == 0 && in_row < 8; rows /= 2) {
      in_row *= 2;
      stride *= 2;
    }
    const Head from = Head::of(view, batch, head, first_row);
    tensors_[count_++] = {static_cast<const char*>(from.base), stride, rows, in_row, kWritten};
  }
  // Among about `steps` calls of Step().
  void Share(std::size_t items, std::int64_t steps) {
    if (lines_ * kLine * static_cast<std::int64_t>(items) <= kNearBytes) count_ = 0;
    lines_in_step_ = (lines_ + steps - 1) / std::max<std::int64_t>(1, steps);
  }
  HWY_NOINLINE void Ask() {
    for (std::int64_t lines = 0; lines < lines_in_step_;) {
      Lines& some = tensors_[at_];
      some.written ? AskRow<true>(some) : AskRow<false>(some);
      lines += some.in_row;
      some.row += some.stride;
      if (--some.rows == 0 && ++at_ == count_) return;
    }
  }

  template <bool kWritten>
  static HWY_INLINE void AskRow(const Lines& some) {
    const char* const end = some.row + some.in_row * kLine;
    for (const char* at = some.row; at != end; at += kLine) __builtin_prefetch(at, kWritten ? 1 : 0, 2);
  }

  Lines tensors_[kMostTensors];
  std::size_t count_ = 0, at_ = 0;
  std::int64_t lines_ = 0, lines_in_step_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
