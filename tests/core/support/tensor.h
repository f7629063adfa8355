// SPDX-License-Identifier: Apache-2.0
// Tensors that the tests own, lying in memory in every way that a caller's may.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <new>
#include <random>
#include <vector>

#include "regard/tensor_view.h"
#include "tests/core/support/dtypes.h"

namespace regard::testing {

using Random = std::mt19937_64;

// How a tensor lies in memory. The last three are for inputs only: several logical elements share
// one in memory.
enum class Lie {
  kBhsd,         // contiguous (batch, heads, seq, dim)
  kBshd,         // contiguous (batch, seq, heads, dim)
  kPadded,       // rows of dim + 3 elements, a gap after each head, starting at an odd element
  kReversed,     // seq and dim run backwards
  kTransposed,   // seq is the innermost axis
  kEverySecond,  // dim has stride 2
  kStrange,      // (dim, heads, batch, seq) order, heads backwards, steps of 3
  kOneBatch,     // batch has stride 0
  kOneHead,      // heads have stride 0
  kOneRow,       // seq has stride 0
};
inline constexpr int kOutputLies = 7, kInputLies = 10;

// Memory that begins where a cache line does, as PyTorch's does: some kernels write only such rows
// in their fastest way.
template <typename T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <typename U>
  explicit LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t n) {
    return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* memory, std::size_t) { ::operator delete (memory, std::align_val_t{64}); }
  friend bool operator==(const LineAllocator&, const LineAllocator&) { return true; }
};

class Tensor {
 public:
  Tensor() = default;
  // Every byte of the storage, gaps included, is 0xff: NaN in all float types, so that what should
  // have been written, or should not have been read, shows.
  Tensor(DType dtype, const Shape& shape, Lie lie = Lie::kBhsd);

  bool given() const { return !storage_.empty(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t count() const { return shape_[0] * shape_[1] * shape_[2] * shape_[3]; }
  TensorView view() const { return {data(), dtype_, shape_, strides_}; }
  MutableTensorView mutable_view() { return {const_cast<void*>(data()), dtype_, shape_, strides_}; }
  // The same, or a view that was never given.
  TensorView optional_view() const { return given() ? view() : TensorView{}; }
  MutableTensorView optional_mutable_view() {
    return given() ? mutable_view() : MutableTensorView{};
  }

  double at(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) const {
    return load(element(b, h, s, d), dtype_);
  }
  void set(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d, double value) {
    store(value, const_cast<void*>(element(b, h, s, d)), dtype_);
  }
  // As at(), but an axis of size 1 answers for every index: what broadcasting means.
  double broadcast_at(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) const;
  const void* element(std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d) const;

  void fill(double value);
  void fill_normal(Random& random, double deviation = 1);
  // Copies of indices [begin, begin + size) along one axis, contiguous; an axis of size 1 is kept
  // as it is (broadcast).
  Tensor slice(int axis, std::int64_t begin, std::int64_t size) const;
  // A contiguous copy in another dtype.
  Tensor as(DType dtype) const;
  // Every element in (batch, heads, seq, dim) order.
  std::vector<double> values() const;
  // Whether all bytes between the elements are as they were made.
  bool gaps_untouched() const;

 private:
  const void* data() const {
    return storage_.data() + offset_ * static_cast<std::int64_t>(size_of(dtype_));
  }

  DType dtype_ = DType::kFloat32;
  Shape shape_{0, 0, 0, 0};
  Strides strides_{0, 0, 0, 0};
  std::int64_t offset_ = 0;  // of element (0, 0, 0, 0), in elements
  std::vector<unsigned char, LineAllocator<unsigned char>> storage_;
};

// Calls f(b, h, s, d) for every index of the shape.
template <typename F>
void for_each_index(const Shape& shape, F f) {
  for (std::int64_t b = 0; b < shape[0]; ++b)
    for (std::int64_t h = 0; h < shape[1]; ++h)
      for (std::int64_t s = 0; s < shape[2]; ++s)
        for (std::int64_t d = 0; d < shape[3]; ++d) f(b, h, s, d);
}

// Succeeds where both have the same dtype, shape and elements, bit by bit (so two NaNs of the same
// bits are equal, and 0 and -0 are not). The layouts may differ.
::testing::AssertionResult same_bits(const Tensor& a, const Tensor& b);

}  // namespace regard::testing
