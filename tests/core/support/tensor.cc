// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/tensor.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace regard::testing {
namespace {

struct Axes {
  std::array<int, 4> inner_to_outer{3, 2, 1, 0};
  std::int64_t step = 1;                        // of the innermost axis
  std::array<std::int64_t, 4> gap{0, 0, 0, 0};  // extra elements after each run of that axis
  std::array<bool, 4> backwards{false, false, false, false};
  std::array<bool, 4> shared{false, false, false, false};
  std::int64_t lead = 0;  // unused elements in front
};

Axes axes_of(Lie lie) {
  Axes a;
  switch (lie) {
    case Lie::kBhsd: break;
    case Lie::kBshd: a.inner_to_outer = {3, 1, 2, 0}; break;
    case Lie::kPadded:
      a.gap = {0, 0, 5, 3};
      a.lead = 1;
      break;
    case Lie::kReversed: a.backwards = {false, false, true, true}; break;
    case Lie::kTransposed: a.inner_to_outer = {2, 3, 1, 0}; break;
    case Lie::kEverySecond: a.step = 2; break;
    case Lie::kStrange:
      a.inner_to_outer = {2, 0, 1, 3};
      a.step = 3;
      a.backwards[1] = true;
      a.lead = 3;
      break;
    case Lie::kOneBatch: a.shared[0] = true; break;
    case Lie::kOneHead: a.shared[1] = true; break;
    case Lie::kOneRow: a.shared[2] = true; break;
  }
  return a;
}

}  // namespace

Tensor::Tensor(DType dtype, const Shape& shape, Lie lie) : dtype_(dtype), shape_(shape) {
  const Axes axes = axes_of(lie);
  std::int64_t run = axes.step, first = axes.lead, last = axes.lead;
  for (const int axis : axes.inner_to_outer) {
    if (axes.shared[axis]) continue;
    const std::int64_t reach = run * std::max<std::int64_t>(shape[axis] - 1, 0);
    strides_[axis] = axes.backwards[axis] ? -run : run;
    if (axes.backwards[axis]) first += reach;
    last += reach;
    run = run * std::max<std::int64_t>(shape[axis], 1) + axes.gap[axis];
  }
  offset_ = first;
  // Exactly as long as the elements reach, so that an address sanitizer sees a read past the end.
  // An empty tensor keeps one element: a null pointer would mean "not given".
  storage_.assign(static_cast<std::size_t>(last + 1) * size_of(dtype), 0xff);
}

const void* Tensor::element(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) const {
  const std::int64_t at =
      offset_ + b * strides_[0] + h * strides_[1] + s * strides_[2] + d * strides_[3];
  return storage_.data() + at * static_cast<std::int64_t>(size_of(dtype_));
}

double Tensor::broadcast_at(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) const {
  return at(shape_[0] == 1 ? 0 : b, shape_[1] == 1 ? 0 : h, shape_[2] == 1 ? 0 : s,
            shape_[3] == 1 ? 0 : d);
}

void Tensor::fill(double value) {
  for_each_index(shape_, [&](auto b, auto h, auto s, auto d) { set(b, h, s, d, value); });
}

void Tensor::fill_normal(Random& random, double deviation) {
  std::normal_distribution<double> normal(0, deviation);
  for_each_index(shape_, [&](auto b, auto h, auto s, auto d) { set(b, h, s, d, normal(random)); });
}

Tensor Tensor::slice(int axis, std::int64_t begin, std::int64_t size) const {
  Shape shape = shape_;
  std::array<std::int64_t, 4> from{0, 0, 0, 0};
  if (shape[axis] != 1) {
    shape[axis] = size;
    from[axis] = begin;
  }
  Tensor part(dtype_, shape);
  for_each_index(shape, [&](auto b, auto h, auto s, auto d) {
    std::memcpy(const_cast<void*>(part.element(b, h, s, d)),
                element(b + from[0], h + from[1], s + from[2], d + from[3]), size_of(dtype_));
  });
  return part;
}

Tensor Tensor::as(DType dtype) const {
  Tensor copy(dtype, shape_);
  for_each_index(shape_,
                 [&](auto b, auto h, auto s, auto d) { copy.set(b, h, s, d, at(b, h, s, d)); });
  return copy;
}

std::vector<double> Tensor::values() const {
  std::vector<double> all;
  all.reserve(static_cast<std::size_t>(count()));
  for_each_index(shape_, [&](auto b, auto h, auto s, auto d) { all.push_back(at(b, h, s, d)); });
  return all;
}

bool Tensor::gaps_untouched() const {
  auto bytes = storage_;
  for_each_index(shape_, [&](auto b, auto h, auto s, auto d) {
    const auto at = static_cast<const unsigned char*>(element(b, h, s, d)) - storage_.data();
    std::fill_n(bytes.begin() + at, size_of(dtype_), 0xff);
  });
  return std::all_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte == 0xff; });
}

::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype())
    return ::testing::AssertionFailure() << name_of(a.dtype()) << " against " << name_of(b.dtype());
  if (a.shape() != b.shape()) return ::testing::AssertionFailure() << "the shapes differ";
  std::int64_t different = 0;
  ::testing::AssertionResult result = ::testing::AssertionFailure();
  for_each_index(a.shape(), [&](auto i, auto h, auto s, auto d) {
    if (std::memcmp(a.element(i, h, s, d), b.element(i, h, s, d), size_of(a.dtype())) == 0) return;
    if (different++ == 0) {
      result << "at (" << i << ", " << h << ", " << s << ", " << d
             << "): " << ::testing::PrintToString(a.at(i, h, s, d)) << " against "
             << ::testing::PrintToString(b.at(i, h, s, d));
    }
  });
  if (different == 0) return ::testing::AssertionSuccess();
  return result << "; " << different << " of " << a.count() << " elements differ";
}

}  // namespace regard::testing
