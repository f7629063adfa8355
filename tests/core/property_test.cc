// SPDX-License-Identifier: Apache-2.0
// Random attentions against the oracle: any shape, layout, mask expression, biases, dtype and set
// of gradients.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "regard/target.h"
#include "tests/core/support/any_case.h"
#include "tests/core/support/case.h"
#include "tests/core/support/dense_map.h"

namespace regard::testing {

// What rapidcheck prints when a case fails: the line that runs it again.
void showValue(const Case& c, std::ostream& stream) {
  stream << "REGARD_TARGET=" << current_target() << " " << c;
}

namespace {

// Fails where `check` says what is wrong with one of `count` random cases (RC_PARAMS may say
// otherwise).
template <typename F>
void for_any_case(const char* what, int count, double most, const F& check) {
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  if (std::getenv("RC_PARAMS") == nullptr) params.maxSuccess = count;
  const auto property = [&] {
    const Case c = *rc::gen::exec([&] { return any_case(most); });
    const std::string error = check(c);
    if (!error.empty()) RC_FAIL(error);
  };
  rc::detail::TestMetadata metadata;
  metadata.id = metadata.description = what;
  const auto result = rc::detail::checkTestable(property, metadata, params);
  if (!result.template is<rc::detail::SuccessResult>()) {
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    FAIL() << text.str();
  }
}

TEST(Property, AnyAttentionIsWithinTheErrorBars) {
  for_any_case("any attention is within the error bars", 250, 8e6, check);
}

TEST(Property, AnyMapIsThatOfTheFormula) {
  for_any_case("any map is that of the formula", 150, 2e6, check_map);
}

// The case that REGARD_CASE names, to look at a failure again; without it any one.
TEST(Property, OneCase) {
  const char* text = std::getenv("REGARD_CASE");
  const Case c = parse_case(text == nullptr ? "seed=5 lq=40 mask=c.w3:-1@2.&" : text);
  EXPECT_EQ(check(c), "");
  EXPECT_EQ(check_map(c), "");
}

TEST(Property, CasesSurviveTheTripThroughText) {
  const std::string line = "seed=5 dtype=1 lq=40 softcap=1.5 wk=0 mask=c.w3:-1@2.& bias=3,1,0,1,0 ";
  std::ostringstream text;
  text << parse_case(line);
  EXPECT_EQ(text.str(),
            "REGARD_CASE='" + line +
                "' build/release/tests/core/core_tests --gtest_filter=Property.OneCase");
  EXPECT_THROW(parse_case("lq=4 nonsense=1"), std::invalid_argument);
}

}  // namespace
}  // namespace regard::testing
