// SPDX-License-Identifier: Apache-2.0
// Two text files whose lines belong together: line n of one is the translation (or summary) of line
// n of the other. The files are streamed: memory holds an index of one entry for every block of
// lines, so they may be larger than memory, and blocks can be read in any order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace regard::text {

class ParallelCorpus {
 public:
  static constexpr std::int64_t kBlockLines = 256;

  // Reads both files once, to count and index their lines. std::runtime_error, with names and
  // counts, for a file that cannot be read, for files of different numbers of lines, and for files
  // without lines.
  ParallelCorpus(std::filesystem::path source, std::filesystem::path target);

  const std::filesystem::path& source() const { return source_; }
  const std::filesystem::path& target() const { return target_; }
  std::int64_t lines() const { return lines_; }
  std::int64_t blocks() const { return static_cast<std::int64_t>(source_starts_.size()); }

  // Calls `each` with the lines of one block and their number, which counts from 1. Ends of lines
  // (a carriage return included) are not part of them. std::runtime_error if a file has become
  // shorter since it was counted.
  void read_block(std::int64_t block,
                  const std::function<void(std::int64_t line, const std::string& source,
                                           const std::string& target)>& each) const;

  // Tells files with other contents apart, so that training does not go on with the wrong ones: the
  // number of lines and where blocks start.
  std::uint64_t fingerprint() const;

 private:
  std::filesystem::path source_, target_;
  std::int64_t lines_ = 0;
  std::vector<std::uint64_t> source_starts_, target_starts_;  // a block's first byte
};

}  // namespace regard::text
