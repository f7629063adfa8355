// SPDX-License-Identifier: Apache-2.0
// What several commands' options have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace regard::cli {

// --threads: 0 (as PyTorch chooses) to 1,024.
CLI::Option* add_threads(CLI::App& command, int& threads);

// A number from 0 on, of which 0 is what the help says.
inline const CLI::Range kFromZero(std::int64_t{0}, std::int64_t{1} << 30);

inline const CLI::Range kSeeds(std::int64_t{0}, std::numeric_limits<std::int64_t>::max());

// Options that may be given again take one value each time: what follows is not theirs.
inline CLI::Option* one_each_time(CLI::Option* option) {
  return option->take_all()->allow_extra_args(false);
}

// std::invalid_argument by the flag's name where one of these was given, which `why` says is of no
// use here.
void refuse_flags(const CLI::App& command, const std::vector<std::string>& names,
                  const std::string& why);

// Does it, and names flags in the message of an std::invalid_argument where settings have other
// names: "length_penalty: 3" is "--length-penalty: 3".
void with_flag_names(const std::function<void()>& work);

}  // namespace regard::cli
