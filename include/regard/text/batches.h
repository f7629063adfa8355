// SPDX-License-Identifier: Apache-2.0
// Batches of pairs of sentences: bounded by tokens rather than by sentences, of sentences of like
// lengths, in an order that a seed fixes.
//
// Every epoch reads the corpus's blocks in an order of its own. A chunk of them is encoded at once,
// sorted by length and cut into batches, whose order is shuffled again. So a batch's place is three
// numbers (epoch, chunk, batch): training that stops there goes on there, whatever the file's size.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "regard/text/parallel_corpus.h"
#include "regard/text/vocabulary.h"

namespace regard::text {

struct TokenPair {
  std::vector<std::int64_t> source, target;  // without special tokens
  std::int64_t line = 0;                     // where it stands in the files, counted from 1
};

struct BatchOptions {
  // A batch holds at most this many positions, padding included: its rows times the length of the
  // longest source or target, with an end token.
  std::int64_t tokens = 2048;
  // Pairs with more tokens than this on either side are left out (and counted).
  std::int64_t max_length = 256;
  // Sources longer than that are cut instead, as a summary's may be: its target tells of the whole.
  bool cut_sources = false;
  // Pairs encoded and sorted at once: what is in memory.
  std::int64_t chunk_pairs = 65'536;
  bool shuffle = true;  // otherwise in the order of lengths, chunk by chunk: for validation
  std::uint64_t seed = 1;
};

// What was left out since the stream was made, and where the first of it stands.
struct LeftOut {
  std::int64_t empty = 0, first_empty = 0;        // a side without tokens
  std::int64_t too_long = 0, first_too_long = 0;  // more than max_length tokens on a side
  std::int64_t longest = 0;                       // tokens of the longest of those
};

class BatchStream {
 public:
  struct Position {
    std::int64_t epoch = 0, chunk = 0, batch = 0;
    bool operator==(const Position&) const = default;
  };

  // std::invalid_argument for options that make no sense.
  BatchStream(const ParallelCorpus& corpus, const Vocabulary& vocabulary, BatchOptions options);

  // The next batch of the epoch, longest source first; nothing at the epoch's end (the call after
  // that starts the next epoch). std::runtime_error if a whole epoch holds no pair that can be
  // used.
  std::optional<std::vector<TokenPair>> next();

  const Position& position() const { return position_; }  // of what next() will give
  void seek(const Position& position);

  // How much of the epoch has been given out, 0 to 1.
  double epoch_fraction() const;

  // Counted over the first epoch read from its start, chunk by chunk as it is reached.
  const LeftOut& left_out() const { return left_out_; }

 private:
  void load_chunk();
  std::int64_t chunks() const;

  const ParallelCorpus& corpus_;
  const Vocabulary& vocabulary_;
  BatchOptions options_;
  Position position_;
  std::vector<std::vector<TokenPair>> batches_;  // of the chunk that is loaded
  std::optional<Position> loaded_;               // its epoch and chunk
  std::int64_t given_in_epoch_ = 0;
  std::vector<bool> counted_;  // chunks whose pairs are in left_out_
  LeftOut left_out_;
};

}  // namespace regard::text
