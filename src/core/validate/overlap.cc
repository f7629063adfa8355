// SPDX-License-Identifier: Apache-2.0
#include "core/validate/overlap.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
namespace regard {
namespace {

// Distances in bytes between elements of two views may need a bit more than 64.
__extension__ using Wide = __int128;

// The bytes [begin, end) that hold all elements of a view.
struct Extent {
  std::intptr_t begin, end;
};

Extent extent_of(const TensorView& view) {
  const auto bytes = static_cast<std::int64_t>(size_of(view.dtype));
  const auto first = reinterpret_cast<std::intptr_t>(view.data);
  Extent extent{first, first + bytes};
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    if (view.shape[axis] == 1) continue;  // its stride is never walked
    const std::int64_t reach = (view.shape[axis] - 1) * view.strides[axis] * bytes;
    (reach < 0 ? extent.begin : extent.end) += reach;
  }
  return extent;
}

// Whether a sum of step * count, with 0 <= count <= most for each term, can be a given number:
// steps are tried from the largest down, so that few counts of each are possible where axes nest.
class StepSum {
 public:
  void add(std::int64_t step, std::int64_t most) {
    if (step == 0 || most == 0) return;
    for (std::size_t i = 0; i < count_; ++i) {
      if (terms_[i].step != step) continue;
      terms_[i].most += most;
      return;
    }
    terms_[count_++] = {step, most, 0, 0};
  }

  bool can_be(Wide target) {
    std::sort(terms_.begin(), terms_.begin() + count_,
              [](const Term& a, const Term& b) { return a.step > b.step; });
    Wide rest = 0;
    std::int64_t divisor = 0;
    for (std::size_t i = count_; i-- > 0;) {
      rest += static_cast<Wide>(terms_[i].step) * terms_[i].most;
      divisor = std::gcd(divisor, terms_[i].step);
      terms_[i].sum_from_here = rest;
      terms_[i].divisor_from_here = divisor;
    }
    return search(0, target);
  }

 private:
  struct Term {
    std::int64_t step, most;
    Wide sum_from_here;
    std::int64_t divisor_from_here;
  };

  bool search(std::size_t i, Wide target) {
    if (target == 0) return true;
    if (i == count_ || target > terms_[i].sum_from_here ||
        target % terms_[i].divisor_from_here != 0)
      return false;
    if (steps_left_ == 0) return true;
    --steps_left_;
    const Term& term = terms_[i];
    const Wide rest = i + 1 < count_ ? terms_[i + 1].sum_from_here : 0;
    const Wide least = target > rest ? (target - rest + term.step - 1) / term.step : 0;
    for (Wide n = std::min<Wide>(term.most, target / term.step); n >= least; --n) {
      if (search(i + 1, target - n * term.step)) return true;
    }
    return false;
  }

  std::array<Term, 9> terms_;  // four axes of each view, and the bytes of an element
  std::size_t count_ = 0;
  int steps_left_ = 10000;
};

std::int64_t magnitude(std::int64_t x) { return x < 0 ? -x : x; }

}  // namespace

// With both views' axes turned so that strides are positive, begin_a + (steps of a) + x = begin_b +
// (steps of b) + y, where x and y are bytes of an element. Counting b's steps and y from their ends
// makes all of it one sum of positive steps.
bool overlap(const TensorView& a, const TensorView& b) {
  if (!a.given() || !b.given() || a.empty() || b.empty()) return false;
  const Extent of_a = extent_of(a), of_b = extent_of(b);
  if (of_a.begin >= of_b.end || of_b.begin >= of_a.end) return false;
  StepSum sum;
  for (const TensorView* view : {&a, &b}) {
    const auto bytes = static_cast<std::int64_t>(size_of(view->dtype));
    for (std::size_t axis = 0; axis < view->shape.size(); ++axis) {
      if (view->shape[axis] != 1)
        sum.add(magnitude(view->strides[axis]) * bytes, view->shape[axis] - 1);
    }
    sum.add(1, bytes - 1);
  }
  return sum.can_be(static_cast<Wide>(of_b.end) - 1 - of_a.begin);
}

NamedView::NamedView(const char* name, const TensorView& view) : name_(name), view_(view) {
  if (!view.given() || view.empty()) return;
  const Extent extent = extent_of(view);
  begin_ = extent.begin;
  end_ = extent.end;
}

namespace {

Status shares_memory(const NamedView& written, const std::string& other) {
  return Status::invalid(std::string(written.name()) + ": shares memory with " + other +
                         "; results need memory of their own");
}

}  // namespace

Status check_apart(std::span<const NamedView> written, std::span<const NamedView> read) {
  for (std::size_t n = 0; n < written.size(); ++n) {
    for (const NamedView& other : read)
      if (written[n].overlaps(other)) return shares_memory(written[n], other.name());
    for (std::size_t before = 0; before < n; ++before)
      if (written[n].overlaps(written[before]))
        return shares_memory(written[n], written[before].name());
  }
  return {};
}

Status check_apart(std::span<const NamedView> written, const std::string& name,
                   const TensorView& read) {
  const NamedView other(name.c_str(), read);
  for (const NamedView& one : written)
    if (one.overlaps(other)) return shares_memory(one, name);
  return {};
}

}  // namespace regard
