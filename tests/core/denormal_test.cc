// SPDX-License-Identifier: Apache-2.0
// Denormal numbers follow the mode of the thread that calls, on every worker; and every thread gets
// its own mode back.
#include <gtest/gtest.h>

#if defined(__SSE2__)
#include <xmmintrin.h>

#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "regard/attention.h"
#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

constexpr unsigned kFlush = 0x8040;  // FTZ and DAZ

class WithMode {
 public:
  explicit WithMode(bool flush) : before_(_mm_getcsr()) {
    _mm_setcsr(flush ? before_ | kFlush : before_ & ~kFlush);
  }
  ~WithMode() { _mm_setcsr(before_); }
  WithMode(const WithMode&) = delete;

 private:
  unsigned before_;
};

// Threads of a pool in a mode of their own, which they must have back after each worker.
class PoolInMode final : public Executor {
 public:
  PoolInMode(int workers, bool flush) : workers_(workers), flush_(flush) {}
  int max_workers() const override { return workers_; }
  void run(int workers, const std::function<void(int)>& worker) const override {
    std::vector<std::thread> pool;
    for (int w = 0; w < workers; ++w) {
      pool.emplace_back([&, w] {
        const WithMode mode(flush_);
        const unsigned before = _mm_getcsr();
        ++threads;
        worker(w);
        if ((before & kFlush) != (_mm_getcsr() & kFlush)) changed = true;
      });
    }
    for (std::thread& thread : pool) thread.join();
  }
  mutable std::atomic<bool> changed{false};
  mutable std::atomic<int> threads{0};

 private:
  int workers_;
  bool flush_;
};

// Every key has the same score; values are so small that their mean is a denormal.
Problem denormal_problem(DType dtype, double tiny) {
  Problem p;
  p.q = Tensor(dtype, {8, 1, 40, 16}), p.k = Tensor(dtype, {8, 1, 128, 16}),
  p.v = Tensor(dtype, {8, 1, 128, 16});
  p.d_out = Tensor(dtype, {8, 1, 40, 16});
  p.q.fill(0), p.k.fill(0), p.v.fill(tiny), p.d_out.fill(1);
  return p;
}

TEST(Denormals, FollowTheCallersModeOnEveryWorker) {
  const double tiny32 = 0x1p-140, tiny64 = 0x1p-1060;
  for (const bool flush : {false, true}) {
    const WithMode mode(flush);
    for (const bool pool_flushes : {false, true}) {
      for (const int workers : {1, 3}) {
        const PoolInMode pool(workers, pool_flushes);
        for (const DType dtype : {kF32, kF64}) {
          const Problem p = [&] {
            const WithMode exact(
                false);  // a store through a conversion would flush the input itself
            return denormal_problem(dtype, dtype == kF32 ? tiny32 : tiny64);
          }();
          const Results r = run(p, pool);
          const WithMode exact(false);  // to look at what came out
          const double expected = flush ? 0 : dtype == kF32 ? tiny32 : tiny64;
          for_each_index(r.out.shape(), [&](auto b, auto, auto i, auto d) {
            ASSERT_EQ(r.out.at(b, 0, i, d), expected)
                << name_of(dtype) << (flush ? ", caller flushes" : "")
                << (pool_flushes ? ", pool flushes" : "") << ", " << workers << " workers";
          });
          EXPECT_FALSE(pool.changed) << "a worker left its thread in another mode";
          EXPECT_EQ(pool.threads, workers == 1 ? 0 : 2 * workers) << "threads of both passes";
          pool.threads = 0;
        }
      }
    }
  }
}

TEST(Denormals, TheCallersModeIsItsOwnAfterwards) {
  Random random(1);
  for (const DType dtype : {kF32, kBf16, kF16, kF64}) {
    const Problem p = random_problem(random, dtype, {4, 1, 2, 60, 120, 16, 16});
    for (const bool flush : {false, true}) {
      const WithMode mode(flush);
      const unsigned before = _mm_getcsr() & ~0x3fu;  // the low bits report what happened
      run(p);
      EXPECT_EQ(_mm_getcsr() & ~0x3fu, before) << name_of(dtype);
      const CountingExecutor threads(3);
      run(p, threads);
      EXPECT_EQ(threads.runs(), (std::vector<int>{3, 3})) << name_of(dtype);
      EXPECT_EQ(_mm_getcsr() & ~0x3fu, before) << name_of(dtype);
    }
  }
}

// A key 100 below the maximum weighs e^-100, a denormal number: it counts as 0, in either mode.
TEST(Denormals, WeightsThatUnderflow) {
  for (const bool flush : {false, true}) {
    const WithMode mode(flush);
    Problem p;
    p.q = Tensor(kF32, {1, 1, 1, 1}), p.k = Tensor(kF32, {1, 1, 2, 1}),
    p.v = Tensor(kF32, {1, 1, 2, 2});
    p.q.fill(1);
    p.scale = 1;
    for (const double drop : {80.0, 88.0, 95.0, 100.0, 104.0, 200.0, 1e4}) {
      p.k.set(0, 0, 0, 0, 0), p.k.set(0, 0, 1, 0, -drop);
      p.v.set(0, 0, 0, 0, 1), p.v.set(0, 0, 0, 1, 0), p.v.set(0, 0, 1, 0, 0),
          p.v.set(0, 0, 1, 1, 1);
      const Results r = run(p);
      EXPECT_EQ(r.out.at(0, 0, 0, 0), 1);
      EXPECT_NEAR(r.out.at(0, 0, 0, 1), drop > 87.5 ? 0 : std::exp(-drop), 4e-6 * std::exp(-drop));
    }
  }
}

// Where ALiBi or a Gaussian takes weights through the denormal numbers, a key counts as long as its
// weight is a normal number, in either mode; what would be a denormal result may be 0.
TEST(Denormals, WeightsThatFadeWithDistance) {
  constexpr std::int64_t kKeys = 160, kDim = 4;
  const std::vector<float> zeros(kKeys * kDim, 0.0f);
  std::vector<float> values(kKeys * kDim, 0.0f);
  values[0] = 1;  // what the first key contributes is seen in the first column
  const float slope = 1;
  const auto view = [](const std::vector<float>& x) {
    return TensorView::bhsd(x.data(), kF32, 1, 1, kKeys, kDim);
  };
  const auto softmax_of_alibi = [](std::int64_t i) {
    double sum = 0;
    for (std::int64_t j = 0; j < kKeys; ++j) sum += std::exp(-std::abs(static_cast<double>(i - j)));
    return std::exp(-static_cast<double>(i)) / sum;
  };
  const auto columns = [](std::int64_t i) {
    return std::exp(-0.5 * static_cast<double>(i * i) / 36) / static_cast<double>(kKeys);
  };
  std::vector<float> distances(kKeys);
  for (std::int64_t i = 0; i < kKeys; ++i)
    distances[static_cast<std::size_t>(i)] = static_cast<float>(i);
  for (const bool flush : {false, true}) {
    const WithMode mode(flush);
    for (const bool gaussian : {false, true}) {
      std::vector<float> out(kKeys * kDim, -1.0f);
      Options options;
      if (gaussian) {
        options.modifiers = {
            Gaussian{TensorView::bhsd(distances.data(), kF32, 1, 1, kKeys, 1), 6.0}};
      } else {
        options.modifiers = {Alibi{TensorView::bhsd(&slope, kF32, 1, 1, 1, 1)}};
      }
      const Status status =
          forward({view(zeros), view(zeros), view(values)}, options,
                  {MutableTensorView::bhsd(out.data(), kF32, 1, 1, kKeys, kDim), {}, {}, {}});
      ASSERT_TRUE(status.ok()) << status.message();
      for (std::int64_t i = 0; i < kKeys; ++i) {
        const double expected = gaussian ? columns(i) : softmax_of_alibi(i);
        EXPECT_NEAR(out[static_cast<std::size_t>(i * kDim)], expected, 4e-6 * expected + 0x1p-125)
            << (gaussian ? "gaussian, row " : "alibi, row ") << i;
      }
    }
  }
}

// float16's denormals are ordinary numbers in float32: no mode flushes them.
TEST(Denormals, Float16InputsAreExactInEitherMode) {
  const Problem p = denormal_problem(kF16, 0x3p-24);
  for (const bool flush : {false, true}) {
    const WithMode mode(flush);
    const Results r = run(p);
    const WithMode exact(false);
    EXPECT_EQ(r.out.at(0, 0, 0, 0), 0x3p-24) << (flush ? "flushing" : "");
  }
}

}  // namespace
}  // namespace regard::testing
#endif
