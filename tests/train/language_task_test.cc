// SPDX-License-Identifier: Apache-2.0
#include "regard/train/language_task.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "regard/nn/pretrained.h"
#include "regard/nn/safetensors.h"
#include "regard/train/trainer.h"
#include "tests/support/messages.h"
#include "tests/support/temporary_folder.h"

namespace regard::train {
namespace {

using test::message_of;
using test::says;

std::shared_ptr<nn::CausalLM> small(const std::string& kind, std::int64_t positions = 16) {
  torch::manual_seed(5);
  nlohmann::json config{{"kind", kind}, {"vocab", 40}, {"dim", 24},
                        {"heads", 2},   {"layers", 2}, {"feed_forward", 48}};
  if (kind == "gpt2") {
    config["max_positions"] = positions;
    for (const char* name : {"dropout", "embedding_dropout", "attention_dropout"})
      config[name] = 0.1;
  } else {
    config["kv_heads"] = 1;
  }
  return std::dynamic_pointer_cast<nn::CausalLM>(nn::build_model(config));
}

// Counting documents: n, n + 1, n + 2, ... of various lengths.
TokenizedDocuments counting(int documents, std::int64_t longest = 14) {
  TokenizedDocuments result;
  for (int d = 0; d < documents; ++d) {
    std::vector<std::int64_t> tokens;
    for (std::int64_t i = 0; i < 2 + d * 5 % (longest - 1); ++i) tokens.push_back((d * 3 + i) % 40);
    result.add(tokens);
  }
  return result;
}

class Languages : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, Languages, testing::Values("gpt2", "llama"));

TEST_P(Languages, PackedDocumentsAreReadAsIfAlone) {
  const auto model = small(GetParam());
  model->eval();
  const torch::NoGradGuard no_gradients;
  const torch::Tensor tokens = torch::randint(40, {25}, torch::kInt64);
  const torch::Tensor starts = torch::tensor({0, 1, 8, 24, 25});
  const torch::Tensor packed = model->packed_features(tokens, starts);
  for (std::int64_t d = 0; d < 4; ++d) {
    const auto begin = starts[d].item<std::int64_t>(), end = starts[d + 1].item<std::int64_t>();
    const torch::Tensor alone =
        model->hidden_states(tokens.slice(0, begin, end).unsqueeze(0)).back()[0];
    EXPECT_TRUE(torch::allclose(packed.slice(0, begin, end), alone, 1e-4, 1e-5)) << d;
  }
  EXPECT_TRUE(says(message_of([&] {
                     model->packed_features(tokens, torch::tensor({0, 9}));
                   }),
                   "starts: expected"));
  EXPECT_TRUE(says(message_of([&] {
                     model->packed_features(tokens, torch::tensor({0, 9, 9, 25}));
                   }),
                   "at least one token"));
}

TEST_P(Languages, TheLossIsThatOfEveryTokenAfterItsDocumentsStart) {
  const auto model = small(GetParam());
  const auto documents = counting(30);
  LanguageTask task(model, documents, &documents, {.context = 16, .batch_tokens = 50}, {});
  model->eval();
  const torch::NoGradGuard no_gradients;
  double sum = 0;
  std::int64_t count = 0;
  for (std::size_t d = 0; d + 1 < documents.starts.size(); ++d) {
    const std::vector<std::int64_t> ids(documents.tokens.begin() + documents.starts[d],
                                        documents.tokens.begin() + documents.starts[d + 1]);
    const torch::Tensor all = torch::tensor(ids).unsqueeze(0);
    const torch::Tensor logits =
        model->logits(model->hidden_states(all).back())[0].narrow(0, 0, all.size(1) - 1);
    sum += torch::nll_loss(torch::log_softmax(logits.to(torch::kFloat64), -1),
                           all[0].narrow(0, 1, all.size(1) - 1), {}, at::Reduction::Sum)
               .item<double>();
    count += all.size(1) - 1;
  }
  const Metrics metrics = task.validate();
  EXPECT_NEAR(metrics.nll, sum / static_cast<double>(count), 1e-5);
  EXPECT_EQ(metrics.more.front().first, "perplexity");
  EXPECT_NEAR(metrics.more.front().second, std::exp(metrics.nll), 1e-6);
}

TEST(LanguageTask, AnEpochHasEveryTokenOnceAndLongDocumentsAreCut) {
  const auto documents = counting(40, 40);
  LanguageTask task(small("gpt2"), documents, nullptr, {.context = 7, .batch_tokens = 20}, {});
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::int64_t count = 0;
    while (const auto batch = task.next()) {
      EXPECT_LE(batch->count, 20);
      EXPECT_TRUE(says(batch->where, "document "));
      count += batch->count;
    }
    EXPECT_EQ(count, static_cast<std::int64_t>(documents.tokens.size()) - documents.documents());
  }
  EXPECT_EQ(task.place(), (Place{2, 0, 0}));
  EXPECT_FALSE(task.validates());
}

TEST(LanguageTask, GoesOnToTheSameBitsAndLearns) {
  const test::TemporaryFolder folder;
  const auto documents = counting(100);
  const auto run = [&](const std::string& name, std::int64_t steps) {
    TrainOptions o;
    o.max_epochs = 0;
    o.max_steps = steps;
    o.warmup_steps = 5;
    o.learning_rate = 1e-2;
    o.optimizer = "adamw";
    o.validate_every = 20;
    o.checkpoint_every = 7;
    LanguageTask task(small("gpt2"), documents, &documents, {.context = 12, .batch_tokens = 100},
                      {});
    return Trainer(task, folder / name, o).train();
  };
  const Outcome whole = run("whole", 60);
  for (const std::int64_t steps : {9, 14, 40, 60}) {
    torch::manual_seed(999);
    run("parts", steps);
  }
  for (const char* file : {"training.safetensors", "model.safetensors"}) {
    const auto a = nn::read_safetensors(folder / "whole" / file).tensors;
    const auto b = nn::read_safetensors(folder / "parts" / file).tensors;
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) EXPECT_TRUE(torch::equal(tensor, b.at(name))) << name;
  }
  EXPECT_LT(whole.best_cost, 1.0) << "counting is not hard";
  const auto again = nn::open_model<nn::CausalLM>(folder / "whole");
  EXPECT_EQ(again->kind(), "gpt2");
}

TEST(LanguageTask, SaysWhatDoesNotServe) {
  const auto documents = counting(5);
  TokenizedDocuments nothing;
  nothing.add({3});
  const auto said = [&](const TokenizedDocuments& from, LanguageOptions options) {
    return message_of([&] { LanguageTask(small("gpt2"), from, nullptr, options, {}); });
  };
  EXPECT_TRUE(says(said(documents, {.context = 17}), "context: 17 tokens; the model has 16"));
  EXPECT_TRUE(says(said(documents, {.context = 1}), "context: 1 tokens; expected at least 2"));
  EXPECT_TRUE(says(said(documents, {.context = 10, .batch_tokens = 9}), "batch tokens: 9"));
  EXPECT_TRUE(says(said(nothing, {.context = 10}), "no document of at least two tokens"));
}

}  // namespace
}  // namespace regard::train
