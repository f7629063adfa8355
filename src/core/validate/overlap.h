// SPDX-License-Identifier: Apache-2.0
// Which views share memory: what a call writes must lie apart from what it reads.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "regard/status.h"
#include "regard/tensor_view.h"

namespace regard {

// Whether some element of one view shares a byte with some element of the other. Exact for views
// that interleave (queries, keys and values packed side by side), whatever their strides; where
// these are so strange that ten thousand steps do not decide it, true.
bool overlap(const TensorView& a, const TensorView& b);

// Whether both describe the same elements in the same places.
inline bool same_view(const TensorView& a, const TensorView& b) {
  return a.data == b.data && a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides;
}

// A view as error messages name it. One that is not given, or is empty, shares nothing.
class NamedView {
 public:
  NamedView(const char* name, const TensorView& view);
  NamedView(const char* name, const MutableTensorView& view) : NamedView(name, as_const(view)) {}

  const char* name() const { return name_; }
  bool overlaps(const NamedView& other) const {
    return begin_ < other.end_ && other.begin_ < end_ && overlap(view_, other.view_);
  }

 private:
  const char* name_;
  TensorView view_;
  std::intptr_t begin_ = 0, end_ = 0;  // the bytes in which all elements lie
};

// An error where one of `written` shares memory with another of them or with one of `read`.
Status check_apart(std::span<const NamedView> written, std::span<const NamedView> read);
// The same of one view that is read.
Status check_apart(std::span<const NamedView> written, const std::string& name,
                   const TensorView& read);

}  // namespace regard
