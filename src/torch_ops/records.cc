// SPDX-License-Identifier: Apache-2.0
// The table of records (regard/encoding.h) for Python, and records as text.
#include <algorithm>
#include <string>
#include <string_view>

#include "regard/encoding.h"
#include "torch_ops/operators.h"
#include "torch_ops/problem.h"

namespace regard::torch_ops {
namespace {

// How many names a list of a RecordFormat holds.
std::string count(const char* names) {
  const std::string_view list(names);
  return std::to_string(list.empty() ? 0 : std::ranges::count(list, ',') + 1);
}

}  // namespace

std::string record_kinds() {
  std::string lines;
  for (const RecordFormat& format : kRecordFormats)
    lines += std::string(format.name) + " " +
             std::to_string(static_cast<std::int64_t>(format.kind)) + " " + count(format.floats) +
             " " + count(format.tensors) + "\n";
  return lines;
}

std::string options_text(Ints ints, Floats floats, Tensors tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors)
    views.push_back(as_const(broadcast_view(Described(tensor, "tensors"), "tensors")));
  return encoding_text(ints, floats, views);
}

}  // namespace regard::torch_ops
