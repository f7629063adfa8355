// SPDX-License-Identifier: Apache-2.0
// Runs the core suite on one instruction set: the one that REGARD_TARGET forces, or the default
// choice.
//
//   core_tests                    all tests
//   RC_PARAMS=seed=5 core_tests   other random cases for the property tests (they start from one
//   seed, so that a failure can be seen again) core_tests --targets          each target in this
//   binary, one a line: its name, and `available` or `missing`
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "regard/target.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--targets") {
    const std::vector<std::string> available = regard::available_targets();
    for (const std::string& name : regard::compiled_targets()) {
      const bool runs = std::find(available.begin(), available.end(), name) != available.end();
      std::printf("%s %s\n", name.c_str(), runs ? "available" : "missing");
    }
    return 0;
  }
  setenv("RC_PARAMS", "seed=20170612", 0);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
