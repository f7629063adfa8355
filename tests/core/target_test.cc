// SPDX-License-Identifier: Apache-2.0
// Which instruction set runs: the kernel itself says so.
#include "regard/target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/kernels/dispatch.h"
#include "core/kernels/kernels.h"
#include "tests/core/support/problem.h"

namespace regard::testing {
namespace {

class Target : public ::testing::Test {
 protected:
  // The choice that was there before: REGARD_TARGET's, or the default.
  ~Target() override {
    if (forced_.empty())
      unsetenv("REGARD_TARGET");
    else
      setenv("REGARD_TARGET", forced_.c_str(), 1);
    EXPECT_TRUE(set_target("").ok());
  }
  const std::string forced_ =
      std::getenv("REGARD_TARGET") == nullptr ? "" : std::getenv("REGARD_TARGET");
};

TEST_F(Target, TheEnvironmentForcesOne) {
  if (forced_.empty()) GTEST_SKIP() << "REGARD_TARGET is not set";
  EXPECT_EQ(kernel_target(), forced_);
  EXPECT_EQ(current_target(), forced_);
}

TEST_F(Target, EachRunsCodeOfItsOwn) {
  for (const std::string& name : available_targets()) {
    EXPECT_TRUE(set_target(name).ok());
    EXPECT_EQ(kernel_target(), name);
    // What multiplies bfloat16 in its own way has float32's from its instruction set.
    const std::string others = name == "amx_bf16" || name == "avx512_bf16" ? "avx512" : name;
    EXPECT_EQ(kernels::set_for(kF32).target(), others);
    EXPECT_EQ(kernels::set_for(kF16).target(), others);
    EXPECT_EQ(kernels::set_for(kF64).target(), others);
    for (const DType dtype : {kF32, kBf16, kF16, kF64})
      EXPECT_EQ(kernels::additive_set_for(dtype).target(), others);
  }
}

TEST(TargetChoice, TheBestThatIsThereAndExercised) {
  const std::vector<std::string> all = compiled_targets();
  EXPECT_EQ(kernels::best_target(all, all), all.front());
  EXPECT_EQ(kernels::best_target(all, {all.back()}), all.back())
      << "what no test has run is not chosen";
  EXPECT_EQ(kernels::best_target({all.back()}, all), all.back()) << "nor what the processor lacks";
  EXPECT_EQ(kernels::best_target(all, {}), "portable");
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(kernels::best_target(all, {all.begin() + static_cast<std::ptrdiff_t>(i), all.end()}),
              all[i]);
}

TEST_F(Target, ThePortableOneIsAlwaysThere) {
  const auto has = [](const std::vector<std::string>& names) {
    return std::count(names.begin(), names.end(), "portable") == 1;
  };
  EXPECT_TRUE(has(available_targets()));
  EXPECT_TRUE(has(compiled_targets()));
}

TEST_F(Target, ForcingWhatCannotRunIsAnErrorOfEveryCall) {
  Random random(1);
  const Problem problem = random_problem(random, kF32, {1, 1, 1, 3, 4, 8, 8});
  setenv("REGARD_TARGET", "abacus", 1);
  EXPECT_TRUE(set_target("").ok());
  const std::string error = attempt(problem, serial_executor(), {}).error;
  EXPECT_EQ(
      error.rfind(
          "forward(): REGARD_TARGET: target: 'abacus' is not known; this processor can run ", 0),
      0u)
      << error;
  EXPECT_FALSE(set_target("counting frame").ok());
  EXPECT_NE(attempt(problem, serial_executor(), {}).error, "");
  EXPECT_TRUE(set_target("portable").ok());
  EXPECT_EQ(attempt(problem, serial_executor(), {}).error, "");
}

}  // namespace
}  // namespace regard::testing
