// SPDX-License-Identifier: Apache-2.0
// Options::modifiers as the kernels' lists of stages, and the memory that their tables and
// gradients need during a call.
#pragma once

#include <optional>
#include <vector>

#include "core/kernels/carve.h"
#include "core/kernels/kernels.h"
#include "core/modifiers/modifiers.h"
#include "core/schedule/run.h"
#include "core/schedule/scratch.h"
#include "regard/attention.h"

namespace regard {

class ModifierMemory {
 public:
  // Lists the stages in their fixed order, whatever the order of the list. `full` is (batch, heads,
  // len_q, len_k), `own` the kernel's own type. The options and gradients must outlive this.
  Status prepare(const Options& options, const Shape& full, DType own, kernels::ForwardTask& task);
  // The same with room for the gradients that are wanted; `slots`: how many partial sums one
  // of Owner::kPartials has (see kernels::BackwardTask::sequences).
  Status prepare(const Options& options, const Shape& full, DType own, const Gradients& gradients,
                 std::int64_t slots, kernels::BackwardTask& task);
  // Adds up what the items have left, into the gradients.
  void write(const kernels::BackwardTask& task, const kernels::KernelSet& set) const;

  // Sums of the sinks' gradient, one row of doubles for each (batch, head); null where it is not
  // wanted.
  double* sink_sums() const { return sink_sums_; }

  // Ends a call; keeps the capacity of the lists.
  void clear() {
    entries_.clear();
    sink_sums_ = nullptr;
    scratch_.reset();
  }

 private:
  // One modifier: the stage that it becomes, and where its gradient is summed.
  struct Entry {
    modifiers::Facts facts;
    kernels::Stage stage;
    MutableTensorView gradient;  // the caller's; not given: not wanted
    MutableTensorView sums;      // of the gradient's shape, in the kernel's own type: the gradient
                                 // itself where it has that type
    bool copied = false;
  };

  Status list(const Options& options, const Shape& full, DType own, const Gradients* gradients,
              std::int64_t slots);
  void allocate(kernels::Carve& carve, const Shape& full, DType own, std::int64_t slots);
  void sort(std::vector<kernels::Stage>& stages, std::vector<kernels::Stage>& weight_stages) const;
  bool fades() const;
  TensorView sinks() const;

  std::vector<Entry> entries_;
  double* sink_sums_ = nullptr;
  std::optional<schedule::ScratchMemory> scratch_;
};

// Of a forward or backward task: denormal results are 0 where weights fade away.
template <class Task>
schedule::Denormals denormals_of(const Task& task) {
  return task.fades ? schedule::Denormals::kFlush : schedule::Denormals::kAsCaller;
}

}  // namespace regard
