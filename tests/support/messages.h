// SPDX-License-Identifier: Apache-2.0
// What errors say.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <string>

namespace regard::test {

// What `function` throws, as text; "nothing was thrown" otherwise.
template <typename Function>
std::string message_of(Function&& function) {
  try {
    function();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

inline testing::AssertionResult says(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '"' << message << "\" does not say \"" << part << '"';
}

}  // namespace regard::test
