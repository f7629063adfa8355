// SPDX-License-Identifier: Apache-2.0
#include "regard/text/parallel_corpus.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace regard::text {
namespace {

std::ifstream open(const std::filesystem::path& file) {
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    throw std::runtime_error("cannot read " + file.string() + ": it is a folder");
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file.string() + ": no such file?");
  return in;
}

struct Counted {
  std::int64_t lines = 0;
  std::vector<std::uint64_t> starts;
};

// Counts as std::getline reads: a last line need not end.
Counted count(const std::filesystem::path& file) {
  std::ifstream in = open(file);
  Counted counted;
  std::vector<char> buffer(1 << 20);
  std::uint64_t position = 0;
  bool at_start = true;
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto got = static_cast<std::size_t>(in.gcount());
    for (std::size_t i = 0; i < got; ++i) {
      if (at_start) {
        if (counted.lines % ParallelCorpus::kBlockLines == 0)
          counted.starts.push_back(position + i);
        ++counted.lines;
      }
      at_start = buffer[i] == '\n';
    }
    position += got;
  }
  if (in.bad()) throw std::runtime_error("cannot read " + file.string() + " to its end");
  return counted;
}

bool next_line(std::ifstream& in, std::string& line) {
  if (!std::getline(in, line)) return false;
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

}  // namespace

ParallelCorpus::ParallelCorpus(std::filesystem::path source, std::filesystem::path target)
    : source_(std::move(source)), target_(std::move(target)) {
  Counted a = count(source_), b = count(target_);
  if (a.lines != b.lines) {
    throw std::runtime_error(
        source_.string() + " has " + std::to_string(a.lines) + " lines and " + target_.string() +
        " has " + std::to_string(b.lines) +
        ": expected as many, line n of one belonging to line n of the other (`wc -l` counts them)");
  }
  if (a.lines == 0) throw std::runtime_error(source_.string() + " has no lines");
  lines_ = a.lines;
  source_starts_ = std::move(a.starts);
  target_starts_ = std::move(b.starts);
}

void ParallelCorpus::read_block(
    std::int64_t block,
    const std::function<void(std::int64_t, const std::string&, const std::string&)>& each) const {
  if (block < 0 || block >= blocks()) {
    throw std::out_of_range("block " + std::to_string(block) + " of " + std::to_string(blocks()));
  }
  std::ifstream a = open(source_), b = open(target_);
  a.seekg(static_cast<std::streamoff>(source_starts_[block]));
  b.seekg(static_cast<std::streamoff>(target_starts_[block]));
  const std::int64_t begin = block * kBlockLines, end = std::min(lines_, begin + kBlockLines);
  std::string source, target;
  for (std::int64_t line = begin; line < end; ++line) {
    const bool whole = next_line(a, source) && next_line(b, target);
    if (!whole) {
      throw std::runtime_error(source_.string() + " or " + target_.string() +
                               " became shorter while it was read (line " +
                               std::to_string(line + 1) + " is missing)");
    }
    each(line + 1, source, target);
  }
}

std::uint64_t ParallelCorpus::fingerprint() const {
  std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a over the index
  const auto mix = [&hash](std::uint64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      hash = (hash ^ ((value >> (8 * byte)) & 255)) * 1099511628211ULL;
    }
  };
  mix(static_cast<std::uint64_t>(lines_));
  for (const std::uint64_t start : source_starts_) mix(start);
  for (const std::uint64_t start : target_starts_) mix(start);
  return hash;
}

}  // namespace regard::text
