// SPDX-License-Identifier: Apache-2.0
// A session's text against one that a model reads from its beginning, token by token.
#include "regard/generate/session.h"

#include <gtest/gtest.h>

#include "tests/support/messages.h"

namespace regard::generate {
namespace {

using test::message_of;
using test::says;
using Tokens = std::vector<std::int64_t>;

constexpr std::int64_t kRoom = 3000;

std::shared_ptr<nn::CausalLM> small_model() {
  torch::manual_seed(0);
  auto model = std::dynamic_pointer_cast<nn::CausalLM>(nn::build_model({{"kind", "llama"},
                                                                        {"vocab", 50},
                                                                        {"dim", 16},
                                                                        {"heads", 2},
                                                                        {"feed_forward", 24},
                                                                        {"layers", 2}}));
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& parameter : model->parameters())
    if (parameter.dim() == 2) parameter.mul_(20);  // so that tokens matter
  return model;
}

Tokens text(std::int64_t count) {
  Tokens tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(i * 7919 % 50);
  return tokens;
}

// The likeliest `count` tokens after `all`, each from a forward pass over the whole text.
Tokens continued(nn::CausalLM& model, Tokens all, std::int64_t count) {
  const torch::NoGradGuard no_grad;
  const auto begin = static_cast<std::ptrdiff_t>(all.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor row = torch::tensor(all, torch::kInt64).unsqueeze(0);
    const torch::Tensor last = model.hidden_states(row).back().select(1, row.size(1) - 1);
    all.push_back(model.logits(last).argmax(-1).item<std::int64_t>());
  }
  return {all.begin() + begin, all.end()};
}

TEST(Session, TurnsOfEveryLengthAreReadAsOneText) {
  const auto model = small_model();
  Session session(*model, kRoom);
  Tokens all;
  for (const std::int64_t length : {1, 5, 1024, 1025, 2}) {
    const Tokens turn = text(length);
    session.add(turn);
    all.insert(all.end(), turn.begin(), turn.end());
    const Tokens written = session.write({.max_tokens = 3}).tokens;
    ASSERT_EQ(written, continued(*model, all, 3)) << "after a turn of " << length;
    all.insert(all.end(), written.begin(), written.end());
    EXPECT_EQ(session.length(), static_cast<std::int64_t>(all.size()));
  }
}

TEST(Session, GoesOnWhereReadingWasEnded) {
  const auto model = small_model();
  const Tokens prompt = text(2100);
  const Tokens expected = continued(*model, prompt, 2);
  for (const std::int64_t ended : {0, 1024, 2100}) {
    Session session(*model, kRoom);
    session.add(prompt);
    WriteOptions options{.max_tokens = 2};
    options.on_read = [&](std::int64_t done, std::int64_t of) {
      EXPECT_EQ(of, 2100);
      return done < ended;
    };
    EXPECT_TRUE(session.write(options).tokens.empty());
    EXPECT_EQ(session.length(), 2100);
    EXPECT_EQ(session.write({.max_tokens = 2}).tokens, expected) << "ended at " << ended;
  }
}

TEST(Session, MoreTextAfterReadingWasEnded) {
  const auto model = small_model();
  Session session(*model, kRoom);
  session.add(text(5));
  WriteOptions options;
  options.on_read = [](std::int64_t done, std::int64_t) { return done == 0; };
  EXPECT_TRUE(session.write(options).tokens.empty());
  session.add(Tokens{3, 4});
  Tokens all = text(5);
  all.insert(all.end(), {3, 4});
  EXPECT_EQ(session.write({.max_tokens = 2}).tokens, continued(*model, all, 2));
}

// Decoding works without autograd's bookkeeping; what it gives is a tensor like any other.
TEST(Session, LogitsCanBeWrittenTo) {
  const auto model = small_model();
  const torch::Tensor source = torch::tensor({{1, 2, 3}}, torch::kInt64);
  const auto state = model->start(source, torch::tensor({3}, torch::kInt64), 4);
  torch::Tensor logits = model->read(*state, torch::tensor({{3, 4}}, torch::kInt64));
  EXPECT_NO_THROW(logits.div_(2));
  logits = model->step(*state, torch::tensor({5}, torch::kInt64));
  EXPECT_NO_THROW(logits.select(1, 0).fill_(0));
  state->reorder(torch::tensor({0, 0}, torch::kInt64));
  EXPECT_EQ(model->step(*state, torch::tensor({6, 7}, torch::kInt64)).size(0), 2);
}

TEST(Session, WhatCannotBeDoneIsRefused) {
  const auto model = small_model();
  EXPECT_TRUE(says(message_of([&] { Session(*model, 0); }), "room: 0"));
  Session session(*model, 4);
  EXPECT_TRUE(says(message_of([&] { session.write({}); }), "no text to continue"));
  EXPECT_TRUE(says(message_of([&] { session.add(text(5)); }), "no room for 5 tokens"));
}

}  // namespace
}  // namespace regard::generate
