// SPDX-License-Identifier: Apache-2.0
// Memory beyond inputs and outputs, as scratch_bytes() counts it: bounded for each worker, whatever
// the lengths.
#include <gtest/gtest.h>

#include "tests/core/support/executors.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

constexpr std::size_t kMostOfAWorker = std::size_t{16} << 20;

// What both passes leave behind of a sequence of n positions.
std::size_t scratch_after(std::int64_t n, DType dtype, const Executor& executor) {
  Random random(1);
  Problem p = random_problem(random, dtype, {1, 2, 1, n, n, 64, 64});
  p.rule = parse_rule("w40:0", 1, 2, n, n);
  release_scratch();
  run(p, executor);
  return scratch_bytes();
}

TEST(Memory, ScratchIsBoundedWhateverTheLengths) {
  for (const DType dtype : {kF32, kBf16}) {
    for (const int workers : {1, 2}) {
      const CountingExecutor executor(workers);
      const std::size_t some = scratch_after(3000, dtype, executor),
                        more = scratch_after(9000, dtype, executor);
      EXPECT_GT(some, 0u) << name_of(dtype);
      // Where dq is narrow, a float32 copy of it gathers what the blocks of keys add.
      const std::size_t copy = dtype == kF32 ? 0 : 2 * 64 * sizeof(float);  // of a row
      // One worker may have come to all items of a pass before the other began.
      if (workers == 1) EXPECT_LE(more, some + some / 8 + 6000 * copy) << name_of(dtype);
      EXPECT_LE(more, static_cast<std::size_t>(workers) * kMostOfAWorker + 9000 * copy)
          << name_of(dtype) << ", " << workers << " workers";
    }
  }
}

TEST(Memory, IsGivenBack) {
  EXPECT_GT(scratch_after(100, kF32, serial_executor()), 0u);
  release_scratch();
  EXPECT_EQ(scratch_bytes(), 0u);
}

}  // namespace
}  // namespace regard::testing
