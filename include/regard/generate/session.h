// SPDX-License-Identifier: Apache-2.0
// A text that a decoder-only model reads and goes on writing, in turns. What was read once is kept
// as keys and values, and never read again.
//
//   Session session(model, 8192);
//   session.add(prompt);
//   Generated answer = session.write({.max_tokens = 200, .end_tokens = {2}});
//   session.add(next);  // the next turn costs its own tokens only
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "regard/generate/generate.h"
#include "regard/nn/causal_lm.h"

namespace regard::generate {

struct WriteOptions {
  std::int64_t max_tokens = 256;  // an end token included
  std::set<std::int64_t> end_tokens;
  bool sampling = false;  // draws, instead of taking the likeliest token
  SamplingOptions draw;
  // Told how many tokens are read and how many there are to read, before and after each piece.
  // Returning false ends it; what is unread stays to be read.
  std::function<bool(std::int64_t done, std::int64_t of)> on_read;
  // Told each token as it is chosen, end tokens left out. Returning false ends it.
  std::function<bool(std::int64_t token)> on_token;
};

class Session {
 public:
  // The model must outlive it; it is put in evaluation mode. `room`: the most tokens that the text
  // may have.
  Session(nn::CausalLM& model, std::int64_t room);
  ~Session();

  // Tokens to be read before the next writing. std::length_error where they have no room.
  void add(std::span<const std::int64_t> tokens);

  // Continues the text. Its tokens, and the end token that ended it, belong to the text.
  // std::invalid_argument where there is nothing to continue; max_tokens is cut to what has room.
  Generated write(const WriteOptions& options);

  std::int64_t length() const;  // of the text
  std::int64_t room() const { return room_; }

 private:
  class Step;
  bool read_pending(const WriteOptions& options);

  nn::CausalLM& model_;
  std::int64_t room_, read_ = 0;
  std::unique_ptr<nn::DecodingState> state_;
  std::vector<std::int64_t> pending_;  // of the text, but not read yet
  torch::Tensor next_;                 // the logits of what follows, where all was read
};

}  // namespace regard::generate
