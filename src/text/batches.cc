// SPDX-License-Identifier: Apache-2.0
#include "regard/text/batches.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>

#include "text/shuffle.h"

namespace regard::text {
namespace {

std::int64_t length(const TokenPair& pair) {
  return static_cast<std::int64_t>(std::max(pair.source.size(), pair.target.size())) + 1;
}

// Neighbours in this order are of like lengths on both sides; the line makes it one order.
bool longer(const TokenPair& a, const TokenPair& b) {
  return std::tuple(a.source.size(), a.target.size(), b.line) >
         std::tuple(b.source.size(), b.target.size(), a.line);
}

void check(const BatchOptions& options) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument(what); };
  if (options.max_length < 1) refuse("max_length: expected at least 1");
  if (options.tokens <= options.max_length) {
    refuse("batch tokens " + std::to_string(options.tokens) + ": expected more than max_length (" +
           std::to_string(options.max_length) + "), so that every pair fits into a batch");
  }
  if (options.chunk_pairs < ParallelCorpus::kBlockLines) {
    refuse("chunk_pairs: expected at least " + std::to_string(ParallelCorpus::kBlockLines));
  }
}

std::vector<std::vector<TokenPair>> cut(std::vector<TokenPair> pairs, std::int64_t tokens) {
  std::vector<std::vector<TokenPair>> batches;
  std::int64_t longest = 0;
  for (TokenPair& pair : pairs) {
    longest = std::max(longest, length(pair));
    const bool full = !batches.empty() &&
                      longest * (static_cast<std::int64_t>(batches.back().size()) + 1) > tokens;
    if (batches.empty() || full) {
      batches.emplace_back();
      longest = length(pair);
    }
    batches.back().push_back(std::move(pair));
  }
  return batches;
}

}  // namespace

BatchStream::BatchStream(const ParallelCorpus& corpus, const Vocabulary& vocabulary,
                         BatchOptions options)
    : corpus_(corpus), vocabulary_(vocabulary), options_(options) {
  check(options_);
  counted_.resize(static_cast<std::size_t>(chunks()));
}

std::int64_t BatchStream::chunks() const {
  const std::int64_t per_chunk = options_.chunk_pairs / ParallelCorpus::kBlockLines;
  return (corpus_.blocks() + per_chunk - 1) / per_chunk;
}

void BatchStream::load_chunk() {
  const Position wanted{position_.epoch, position_.chunk, 0};
  if (loaded_ == wanted) return;
  std::vector<std::int64_t> blocks(static_cast<std::size_t>(corpus_.blocks()));
  std::iota(blocks.begin(), blocks.end(), 0);
  if (options_.shuffle) {
    auto random = seeded(options_.seed, position_.epoch, -1);
    shuffle(blocks, random);
  }
  const std::int64_t per_chunk = options_.chunk_pairs / ParallelCorpus::kBlockLines;
  const std::int64_t begin = position_.chunk * per_chunk;
  const std::int64_t end = std::min(corpus_.blocks(), begin + per_chunk);

  const bool count = !counted_[static_cast<std::size_t>(position_.chunk)] && position_.epoch == 0;
  counted_[static_cast<std::size_t>(position_.chunk)] = true;
  const auto leave_out = [count](std::int64_t& number, std::int64_t& first, std::int64_t line) {
    if (!count) return;
    ++number;
    if (first == 0 || line < first) first = line;
  };
  std::vector<TokenPair> pairs;
  for (std::int64_t b = begin; b < end; ++b) {
    corpus_.read_block(
        blocks[static_cast<std::size_t>(b)],
        [&](std::int64_t line, const auto& source, const auto& target) {
          TokenPair pair{vocabulary_.encode(source), vocabulary_.encode(target), line};
          if (options_.cut_sources && std::ssize(pair.source) > options_.max_length) {
            pair.source.resize(static_cast<std::size_t>(options_.max_length));
          }
          if (pair.source.empty() || pair.target.empty()) {
            leave_out(left_out_.empty, left_out_.first_empty, line);
          } else if (length(pair) - 1 > options_.max_length) {
            leave_out(left_out_.too_long, left_out_.first_too_long, line);
            left_out_.longest = std::max(left_out_.longest, length(pair) - 1);
          } else {
            pairs.push_back(std::move(pair));
          }
        });
  }
  std::sort(pairs.begin(), pairs.end(), longer);
  batches_ = cut(std::move(pairs), options_.tokens);
  if (options_.shuffle) {
    auto random = seeded(options_.seed, position_.epoch, position_.chunk);
    shuffle(batches_, random);
  }
  loaded_ = wanted;
}

std::optional<std::vector<TokenPair>> BatchStream::next() {
  while (position_.chunk < chunks()) {
    load_chunk();
    if (position_.batch < static_cast<std::int64_t>(batches_.size())) {
      ++given_in_epoch_;
      return batches_[static_cast<std::size_t>(position_.batch++)];
    }
    ++position_.chunk;
    position_.batch = 0;
  }
  if (given_in_epoch_ == 0) {
    throw std::runtime_error(corpus_.source().string() + " and " + corpus_.target().string() +
                             " hold no pair that can be used: " + std::to_string(left_out_.empty) +
                             " have an empty side, " + std::to_string(left_out_.too_long) +
                             " are longer than " + std::to_string(options_.max_length) + " tokens");
  }
  position_ = {position_.epoch + 1, 0, 0};
  given_in_epoch_ = 0;
  return std::nullopt;
}

void BatchStream::seek(const Position& position) {
  if (position.epoch < 0 || position.chunk < 0 || position.batch < 0 || position.chunk > chunks()) {
    throw std::invalid_argument("a position of other data: epoch " +
                                std::to_string(position.epoch) + ", chunk " +
                                std::to_string(position.chunk));
  }
  position_ = position;
  given_in_epoch_ = position.chunk + position.batch;  // something was given, if it is not the start
}

double BatchStream::epoch_fraction() const {
  double within = 0;
  const bool here = loaded_ == Position{position_.epoch, position_.chunk, 0};
  if (here && !batches_.empty()) {
    within = static_cast<double>(position_.batch) / static_cast<double>(batches_.size());
  }
  return (static_cast<double>(position_.chunk) + within) / static_cast<double>(chunks());
}

}  // namespace regard::text
