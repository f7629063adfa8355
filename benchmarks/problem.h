// SPDX-License-Identifier: Apache-2.0
// One attention problem with memory of its own, for the C++ benchmarks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "regard/attention.h"

namespace regard::bench {

struct Shape {
  std::int64_t batch = 1, heads = 8, len_q = 0, len_k = 0, dim = 0;
  double pairs = 0;  // (query, key) pairs of one head that are computed; 0: all of them

  // As FlashAttention counts them: 4 n_q n_k dim heads forward, 2.5 times that backward.
  double forward_flops() const {
    const double p = pairs > 0 ? pairs : static_cast<double>(len_q) * static_cast<double>(len_k);
    return 4.0 * p * static_cast<double>(dim * heads * batch);
  }
  double backward_flops() const { return 2.5 * forward_flops(); }
};

// Half of a float32 bit pattern, rounded towards zero: good enough for inputs that nobody compares.
inline std::uint16_t narrow(float value, DType dtype) {
  union {
    float f;
    std::uint32_t u;
  } bits{value};
  if (dtype == DType::kBFloat16) return static_cast<std::uint16_t>(bits.u >> 16);
  if (std::fabs(value) < 0x1p-14f) return 0;
  return static_cast<std::uint16_t>(((bits.u >> 16) & 0x8000u) |
                                    (((bits.u >> 13) - (112u << 10)) & 0x7fffu));
}

class Tensor {
 public:
  Tensor(DType dtype, std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t dim)
      : count_(static_cast<std::size_t>(batch * heads * rows * dim)),
        memory_(::operator new(std::max<std::size_t>(1, count_* size_of(dtype)), kLine)),
        view_(MutableTensorView::bhsd(memory_.get(), dtype, batch, heads, rows, dim)) {
    std::memset(memory_.get(), 0, count_ * size_of(dtype));
  }

  // Values in (-1, 1) from a small generator, the same on every run.
  void fill(std::uint32_t seed) {
    for (std::size_t i = 0; i < count_; ++i) {
      seed = seed * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31f;
      if (view_.dtype == DType::kFloat32) {
        static_cast<float*>(memory_.get())[i] = value;
      } else {
        static_cast<std::uint16_t*>(memory_.get())[i] = narrow(value, view_.dtype);
      }
    }
  }

  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  const MutableTensorView& out() const { return view_; }
  TensorView in() const { return as_const(view_); }

 private:
  // As PyTorch's memory, which begins where a cache line does.
  static constexpr std::align_val_t kLine{64};
  struct Release {
    void operator()(void* memory) const { ::operator delete(memory, kLine); }
  };

  std::size_t count_;
  std::unique_ptr<void, Release> memory_;
  MutableTensorView view_;
};

class Problem {
 public:
  Problem(const Shape& shape, DType dtype, Options options, bool with_gradients)
      : options_(std::move(options)),
        q_(dtype, shape.batch, shape.heads, shape.len_q, shape.dim),
        k_(dtype, shape.batch, shape.heads, shape.len_k, shape.dim),
        v_(dtype, shape.batch, shape.heads, shape.len_k, shape.dim),
        out_(dtype, shape.batch, shape.heads, shape.len_q, shape.dim),
        maximum_(DType::kFloat32, shape.batch, shape.heads, shape.len_q, 1),
        log_sum_(DType::kFloat32, shape.batch, shape.heads, shape.len_q, 1),
        d_out_(dtype, shape.batch, shape.heads, with_gradients ? shape.len_q : 0, shape.dim),
        dq_(dtype, shape.batch, shape.heads, with_gradients ? shape.len_q : 0, shape.dim),
        dk_(dtype, shape.batch, shape.heads, with_gradients ? shape.len_k : 0, shape.dim),
        dv_(dtype, shape.batch, shape.heads, with_gradients ? shape.len_k : 0, shape.dim) {
    q_.fill(1);
    k_.fill(2);
    v_.fill(3);
    d_out_.fill(4);
  }

  void forward(const Executor& executor) {
    must(regard::forward({q_.in(), k_.in(), v_.in()}, options_,
                         {out_.out(), maximum_.out(), log_sum_.out(), {}}, executor));
  }

  // forward() first.
  void backward(const Executor& executor) {
    must(regard::backward(
        {q_.in(), k_.in(), v_.in(), out_.in(), maximum_.in(), log_sum_.in(), d_out_.in(), {}},
        options_, {dq_.out(), dk_.out(), dv_.out(), {}}, executor));
  }

 private:
  static void must(const Status& status) {
    if (status.ok()) return;
    std::fprintf(stderr, "%s\n", status.message().c_str());
    std::exit(1);
  }

  Options options_;
  Tensor q_, k_, v_, out_, maximum_, log_sum_, d_out_, dq_, dk_, dv_;
};

}  // namespace regard::bench
