// Asks for what comes next while tiles are computed: for what the next item reads and writes, as
// short heads are over before the processor sees a pattern, and for the rows that an item will pack
// next, which it would otherwise wait for one after another.

#if defined(REGARD_KERNELS_PREFETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_KERNELS_PREFETCH_INL_H_
#undef REGARD_KERNELS_PREFETCH_INL_H_
#else
#define REGARD_KERNELS_PREFETCH_INL_H_
#endif

#include <algorithm>

#include "core/kernels/kernels.h"
#include "core/kernels/tile/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::kernels {
namespace HWY_NAMESPACE {

// A few lines at a time, between this item's tiles: a processor keeps some tens of them waiting,
// and stands still when it is asked for more. One object for each item.
class NextItem {
 public:
  // Item `item` begins.
  void Start(const ForwardTask& task, std::size_t item) {
    if (item + 1 == task.items.size()) return;
    const ForwardItem &now = task.items[item], &next = task.items[item + 1];
    const plan::Sequence& s = SequenceOf(task, next.sequence);
    const std::int64_t first = next.unit_begin * plan::kRowUnit,
                       rows = std::min(s.len_q, next.unit_end * plan::kRowUnit) - first;
    if (LieNear(task, s.len_k + rows * (next.head_end - next.head_begin))) return;
    if (task.layout->query_rows(static_cast<std::size_t>(next.sequence), next.head_begin) !=
        nullptr)
      return;  // they lie scattered
    if (next.sequence != now.sequence || next.kv_head != now.kv_head) {
      Add<false>(KeysOf(task), s.batch, next.kv_head, s.k_begin, s.len_k);
      Add<false>(task.inputs.v, s.batch, next.kv_head, s.k_begin, s.len_k);
    }
    for (std::int32_t head = next.head_begin; head < next.head_end; ++head) {
      Add<false>(task.inputs.q, s.batch, head, s.q_begin + first, rows);
      Add<true>(task.outputs.out, s.batch, head, s.q_begin + first, rows);
    }
    // A step for each panel of keys and of values, and each group of rows.
    const std::int64_t panels =
        (SequenceOf(task, now.sequence).len_k + task.inputs.v.shape[3]) / kPanel;
    Share(panels * (now.unit_end - now.unit_begin) * (plan::kRowUnit / kGroup) *
          (now.head_end - now.head_begin));
  }
  void Start(const BackwardTask& task, std::size_t item) {
    if (item + 1 == task.items.size()) return;
    const BackwardItem &now = task.items[item], &next = task.items[item + 1];
    const plan::Sequence& s = SequenceOf(task, next.sequence_begin);
    const std::int64_t first = next.block_begin * block_keys(task, s), keys = KeysIn(task, s, next);
    if (LieNear(task, 2 * (keys + s.len_q * task.group))) return;
    const std::int64_t first_head = next.kv_begin * task.group;
    if (task.layout->query_rows(static_cast<std::size_t>(next.sequence_begin),
                                static_cast<std::int32_t>(first_head)) != nullptr)
      return;
    Add<false>(KeysOf(task), s.batch, next.kv_begin, s.k_begin + first, keys);
    Add<false>(task.inputs.v, s.batch, next.kv_begin, s.k_begin + first, keys);
    for (std::int64_t head = first_head; head < first_head + task.group; ++head) {
      Add<false>(task.inputs.q, s.batch, head, s.q_begin, s.len_q);
      Add<false>(task.inputs.d_out, s.batch, head, s.q_begin, s.len_q);
      Add<false>(task.inputs.out, s.batch, head, s.q_begin, s.len_q);
      Add<true>(task.gradients.dq, s.batch, head, s.q_begin, s.len_q);
    }
    Add<true>(task.gradients.dk, s.batch, next.kv_begin, s.k_begin + first, keys);
    Add<true>(task.gradients.dv, s.batch, next.kv_begin, s.k_begin + first, keys);
    // A step for each panel of queries and of the three gradients, and each group of keys.
    const plan::Sequence& mine = SequenceOf(task, now.sequence_begin);
    const std::int64_t panels =
        (mine.len_q + task.inputs.q.shape[3] * 2 + task.inputs.v.shape[3]) / kPanel;
    Share(panels * ((KeysIn(task, mine, now) + kGroup - 1) / kGroup) * task.group);
  }

  // Between tiles.
  HWY_INLINE void Step() {
    if (at_ < count_) Ask();
  }

 private:
  // Bytes of one head of a tensor: more would not lie in L2 beside the others, and drive out what
  // this item needs. (Processors with AVX-512 have an L2 of 1 MiB or more.) Few that are written
  // wait in the processor's queue of stores, and hold nothing up.
  static constexpr std::int64_t kMostBytes = HWY_TARGET <= HWY_AVX3 ? 65536 : 32768,
                                kFewBytes = 2048;
  // Of all items together: less is near already, if it was used lately.
  static constexpr std::int64_t kNearBytes = 1048576;
  static constexpr std::int64_t kLine = 64, kRun = 8;  // lines of a run are asked for together
  static constexpr auto kPanel = static_cast<std::int64_t>(kWidth<float>),
                        kGroup = static_cast<std::int64_t>(kRows);
  static constexpr std::size_t kMostTensors = 16;

  // Rows, or runs of lines where there are no gaps between rows.
  struct Lines {
    const char* row;
    std::int64_t stride, rows, in_row;
  };

  template <class Task>
  static const plan::Sequence& SequenceOf(const Task& task, std::int32_t sequence) {
    return task.layout->sequences[static_cast<std::size_t>(sequence)];
  }
  // Where a pass reads its keys.
  template <class Task>
  static const TensorView& KeysOf(const Task& task) {
    return task.additive.prepared_keys.given() ? task.additive.prepared_keys : task.inputs.k;
  }
  // Keys of an item's blocks.
  static std::int64_t KeysIn(const BackwardTask& task, const plan::Sequence& s,
                             const BackwardItem& item) {
    const std::int64_t size = block_keys(task, s);
    return std::min(s.len_k, item.block_end * size) - item.block_begin * size;
  }

  template <bool kWritten, class View>
  void Add(const View& view, std::int64_t batch, std::int64_t head, std::int64_t first_row,
           std::int64_t rows) {
    if (!view.given() || view.strides[3] != 1 || rows <= 0 || count_ == kMostTensors) return;
    const auto size = static_cast<std::int64_t>(size_of(view.dtype));
    Lines some{nullptr, view.strides[2] * size, rows, (view.shape[3] * size + kLine - 1) / kLine};
    if (some.stride == 0) some.rows = 1;
    std::int64_t lines = some.rows * some.in_row;
    if (some.stride > 0 && some.stride <= some.in_row * kLine) {
      lines = ((rows - 1) * some.stride + view.shape[3] * size + kLine - 1) / kLine;
      some = {nullptr, kRun * kLine, (lines + kRun - 1) / kRun, std::min(lines, kRun)};
    }
    const std::int64_t bytes = lines * kLine;
    if (bytes == 0 || bytes > kMostBytes || (kWritten && bytes <= kFewBytes)) return;
    some.row = static_cast<const char*>(Head::of(view, batch, head, first_row).base);
    tensors_[count_++] = some;
    lines_ += lines;
  }
  // Whether items like one that meets so many rows of dim, and as many of dim_v, are so few that
  // all is near.
  template <class Task>
  static bool LieNear(const Task& task, std::int64_t rows) {
    const TensorView& v = task.inputs.v;
    const std::int64_t bytes =
        rows * (task.inputs.q.shape[3] + v.shape[3]) * static_cast<std::int64_t>(size_of(v.dtype));
    return bytes * static_cast<std::int64_t>(task.items.size()) <= kNearBytes;
  }
  // Among about `steps` calls of Step().
  void Share(std::int64_t steps) {
    lines_in_step_ = (lines_ + steps - 1) / std::max<std::int64_t>(1, steps);
  }
  // It changes the object, or GCC would leave out its calls: a function that only asks for memory
  // does nothing to it.
  HWY_NOINLINE void Ask() {
    for (std::int64_t lines = 0; lines < lines_in_step_;) {
      Lines& some = tensors_[at_];
      const char* const end = some.row + some.in_row * kLine;
      for (const char* at = some.row; at != end; at += kLine) __builtin_prefetch(at, 0, 2);
      lines += some.in_row;
      some.row += some.stride;
      if (--some.rows == 0 && ++at_ == count_) return;
    }
  }

  Lines tensors_[kMostTensors];
  std::size_t count_ = 0, at_ = 0;
  std::int64_t lines_ = 0, lines_in_step_ = 0;
};

// The rows of the chunk that an item will pack next, a few at a time.
class ChunkAhead {
 public:
  void Forget() {
    first_ = row_ = end_ = -1;
    heads_count_ = 0;
  }
  // After Forget(): whose rows.
  void Add(const Head& head, std::size_t dim) {
    if (head.col == 1) heads_[heads_count_++] = {head, dim};
  }
  // Rows [first, end), among about `steps` calls of Step(). Where `wanted` is given, it says which
  // panels of `panel` rows.
  void Start(std::int64_t first, std::int64_t end, std::size_t steps, const bool* wanted = nullptr,
             std::size_t panel = 1) {
    rows_in_step_ =
        (end - first + static_cast<std::int64_t>(steps) - 1) / static_cast<std::int64_t>(steps);
    if (rows_in_step_ > kMostRows) return Forget();
    first_ = row_ = first;
    end_ = end;
    panel_ = static_cast<std::int64_t>(panel);
    wanted_ = wanted;
  }

  // Whether all of the chunk that begins with this row has been asked for.
  bool HasAskedFor(std::int64_t first) const { return first == first_ && row_ == end_; }

  // Between tiles.
  HWY_INLINE void Step() {
    if (row_ < end_) Ask();
  }

 private:
  // More at a time, and the processor would wait for them after all.
  static constexpr std::int64_t kMostRows = 4;
  static constexpr std::size_t kMostHeads = 4;

  HWY_NOINLINE void Ask() {
    for (std::int64_t i = 0; i < rows_in_step_ && row_ < end_; ++i, ++row_) {
      if (wanted_ != nullptr && !wanted_[(row_ - first_) / panel_]) continue;
      for (std::size_t h = 0; h < heads_count_; ++h)
        PrefetchRow<false>(heads_[h].head, row_, heads_[h].dim);
    }
  }

  struct {
    Head head;
    std::size_t dim;
  } heads_[kMostHeads];
  std::size_t heads_count_ = 0;
  std::int64_t first_ = -1, row_ = -1, end_ = -1, panel_ = 1, rows_in_step_ = 0;
  const bool* wanted_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace regard::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
