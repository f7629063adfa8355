// SPDX-License-Identifier: Apache-2.0
#include "regard/train/trainer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>

#include "regard/nn/checkpoint.h"
#include "regard/nn/safetensors.h"
#include "regard/train/progress.h"
#include "tests/support/messages.h"
#include "tests/train/small_training.h"

namespace regard::train {
namespace {

using test::message_of;
using test::says;
using test::SmallTraining;

class Recorder : public Listener {
 public:
  void on_step(const Step& step) override { steps.push_back(step); }
  void on_validation(const Validation& v) override { validations.push_back(v); }
  void on_note(const std::string& text) override { notes.push_back(text); }
  std::vector<Step> steps;
  std::vector<Validation> validations;
  std::vector<std::string> notes;
};

Outcome run(const SmallTraining& s, const std::string& name, const TrainOptions& options,
            std::shared_ptr<Listener> listener = nullptr,
            std::shared_ptr<nn::SequenceModel> model = nullptr, double label_smoothing = 0.1) {
  SequenceTask task(model ? model : s.model(), *s.vocabulary, *s.corpus, s.corpus.get(),
                    SmallTraining::batches(), label_smoothing);
  Trainer trainer(task, s.folder / name, options);
  if (listener) trainer.add(listener);
  return trainer.train();
}

// Without anything to validate on.
Outcome run_alone(const SmallTraining& s, const text::ParallelCorpus& corpus,
                  const TrainOptions& options, std::shared_ptr<Listener> listener = nullptr,
                  const std::atomic<bool>* stop = nullptr) {
  SequenceTask task(s.model(), *s.vocabulary, corpus, nullptr, SmallTraining::batches(), 0.1);
  Trainer trainer(task, s.folder / "model", options);
  if (listener) trainer.add(listener);
  trainer.stop_when(stop);
  return trainer.train();
}

std::map<std::string, torch::Tensor> saved(const SmallTraining& s, const std::string& name) {
  return nn::read_safetensors(s.folder / name / "training.safetensors").tensors;
}

void expect_same_bits(const std::map<std::string, torch::Tensor>& a,
                      const std::map<std::string, torch::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(torch::equal(tensor, b.at(name))) << name;
}

TEST(Batch, BeginsEndsAndPads) {
  const nn::Batch batch = to_tensors({{{5, 6, 7}, {8}, 1}, {{9}, {4, 5}, 2}});
  EXPECT_TRUE(torch::equal(batch.source, torch::tensor({{5, 6, 7, 3}, {9, 3, 0, 0}})));
  EXPECT_TRUE(torch::equal(batch.source_lengths, torch::tensor({4, 2})));
  EXPECT_TRUE(torch::equal(batch.target_in, torch::tensor({{2, 8, 0}, {2, 4, 5}})));
  EXPECT_TRUE(torch::equal(batch.target_out, torch::tensor({{8, 3, 0}, {4, 5, 3}})));
}

TEST(Trainer, LearnsAndKeepsTheBestModel) {
  const SmallTraining s;
  const auto recorder = std::make_shared<Recorder>();
  const Outcome outcome = run(s, "model", SmallTraining::options(250), recorder);
  EXPECT_EQ(outcome.ended_by, "steps");
  EXPECT_EQ(outcome.steps, 250);
  ASSERT_EQ(recorder->steps.size(), 250u);
  EXPECT_GT(recorder->steps.front().nll, 3.0);
  EXPECT_LT(outcome.best_cost, 1.0) << "copying words is not hard";
  EXPECT_LT(outcome.best_cost, recorder->validations.front().nll);
  EXPECT_EQ(recorder->validations.size(), 13u);  // 20, 40, ... 240, 250

  // The folder has what a translator needs, and it is the model that was validated.
  const auto model = nn::load_model(s.folder / "model");
  const auto vocabulary = text::Vocabulary::load(s.folder / "model/vocabulary.model");
  EXPECT_EQ(vocabulary.size(), s.vocabulary->size());
  EXPECT_EQ(model->config()["source_vocab"], s.vocabulary->size());
}

TEST(Trainer, GoesOnToTheSameBits) {
  const SmallTraining s;
  run(s, "whole", SmallTraining::options(45));
  // 600 lines are some 20 batches: this stops within an epoch, at its end, and beside a checkpoint.
  for (const std::int64_t steps : {7, 20, 21, 33, 45}) {
    torch::manual_seed(999);  // what happened before is no matter
    run(s, "parts", SmallTraining::options(steps));
  }
  expect_same_bits(saved(s, "whole"), saved(s, "parts"));
  const auto best = [&](const std::string& name) {
    return nn::read_safetensors(s.folder / name / "model.safetensors").tensors;
  };
  expect_same_bits(best("whole"), best("parts"));
}

TEST(Trainer, BothOptimizersAndEveryScheduleGoOn) {
  const SmallTraining s(200);
  for (const std::string optimizer : {"adam", "adamw"}) {
    auto o = SmallTraining::options(12);
    o.optimizer = optimizer;
    o.weight_decay = 0.01;
    o.accumulate = 2;
    o.schedule = "constant";
    run(s, optimizer + "-whole", o);
    o.max_steps = 5;
    run(s, optimizer + "-parts", o);
    o.max_steps = 12;
    run(s, optimizer + "-parts", o);
    expect_same_bits(saved(s, optimizer + "-whole"), saved(s, optimizer + "-parts"));
  }
}

TEST(Trainer, AccumulatedBatchesMakeTheStepOfAllTheirTokens) {
  const SmallTraining s(200);
  auto o = SmallTraining::options(1);
  o.accumulate = 3;
  o.clip_norm = 0;
  const auto trained = s.model("bahdanau", 0), expected = s.model("bahdanau", 0);
  run(s, "model", o, nullptr, trained, /*label_smoothing=*/0);

  // The same in plain libtorch: one sum over the tokens of three batches.
  text::BatchStream stream(*s.corpus, *s.vocabulary, SmallTraining::batches());
  torch::optim::Adam adam(expected->parameters(),
                          torch::optim::AdamOptions(learning_rate(o, 1)).betas({o.beta1, o.beta2}));
  torch::Tensor sum = torch::zeros({});
  std::int64_t tokens = 0;
  expected->train();
  for (int i = 0; i < 3; ++i) {
    const nn::Batch batch = to_tensors(*stream.next());
    const auto logits = expected->forward(batch.source, batch.source_lengths, batch.target_in);
    sum =
        sum + torch::nn::functional::cross_entropy(
                  logits.flatten(0, 1), batch.target_out.flatten(),
                  torch::nn::functional::CrossEntropyFuncOptions().ignore_index(nn::kPad).reduction(
                      torch::kSum));
    tokens += batch.target_out.ne(nn::kPad).sum().item<std::int64_t>();
  }
  (sum / tokens).backward();
  adam.step();
  const auto a = trained->parameters(), b = expected->parameters();
  for (std::size_t i = 0; i < a.size(); ++i) {
    // Adam's first step is the learning rate times the gradient's sign: where a gradient is all but
    // 0, its rounding shows.
    const auto close = torch::isclose(a[i], b[i], 1e-3, 1e-5).to(torch::kFloat32).mean();
    EXPECT_GT(close.item<double>(), 0.99) << i;
  }
}

TEST(Trainer, EndsWhenNothingIsGained) {
  const SmallTraining s(200);
  auto o = SmallTraining::options(0);
  o.max_epochs = 50;
  o.validate_every = 3;
  o.patience = 2;
  o.learning_rate = 1e-12;
  const auto recorder = std::make_shared<Recorder>();
  auto model = s.model();
  const Outcome outcome = run(s, "model", o, recorder, model);
  EXPECT_EQ(outcome.ended_by, "no gain");
  EXPECT_LT(outcome.steps, 60);
}

TEST(Trainer, EndsWithinAnEpochAndGoesOn) {
  const SmallTraining s(300);
  const auto steps_after = [&](double epochs, const std::string& name) {
    auto o = SmallTraining::options(0);
    o.max_epochs = epochs;
    o.validate_every = 0;
    const Outcome outcome = run(s, name, o);
    EXPECT_EQ(outcome.ended_by, "epochs");
    return static_cast<double>(outcome.steps);
  };
  const double whole = steps_after(1, "whole"), two = steps_after(2, "whole");
  EXPECT_NEAR(two, 2 * whole, 1);
  EXPECT_NEAR(steps_after(0.4, "parts"), 0.4 * whole, 1.5);
  EXPECT_EQ(steps_after(1, "parts"), whole);
  EXPECT_NEAR(steps_after(1.5, "parts"), 1.5 * whole, 1.5);
  EXPECT_EQ(steps_after(2, "parts"), two);
}

TEST(Trainer, StopsWhereItIsTold) {
  const SmallTraining s(200);
  std::atomic<bool> stop = true;
  const auto options = SmallTraining::options(100);
  EXPECT_EQ(run_alone(s, *s.corpus, options, nullptr, &stop).ended_by, "stopped");
}

TEST(Trainer, ALossThatIsNotANumberEndsItAndLosesNothing) {
  const SmallTraining s(200);
  run(s, "model", SmallTraining::options(10));
  const auto before = saved(s, "model");
  auto o = SmallTraining::options(30);
  auto model = s.model();
  // The weights are read from the checkpoint, so they are broken during the training.
  class Breaker : public Listener {
   public:
    explicit Breaker(nn::SequenceModel& model) : model_(model) {}
    void on_step(const Step& step) override {
      const torch::NoGradGuard no_gradients;
      if (step.step == 12) model_.parameters().front().fill_(NAN);
    }
    nn::SequenceModel& model_;
  };
  const std::string said =
      message_of([&] { run(s, "model", o, std::make_shared<Breaker>(*model), model); });
  EXPECT_TRUE(says(said, "the loss of step 13 is nan (lines "));
  EXPECT_TRUE(says(said, "--learning-rate"));
  expect_same_bits(before, saved(s, "model"));
  // And from there it goes on.
  EXPECT_EQ(run(s, "model", o).steps, 30);
}

TEST(Trainer, AFullDiskEndsItAndLosesNothing) {
  const SmallTraining s(200);
  run(s, "model", SmallTraining::options(10));
  const auto before = saved(s, "model");
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{20'000, limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string said = message_of([&] { run(s, "model", SmallTraining::options(30)); });
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(says(said, "File too large"));
  expect_same_bits(before, saved(s, "model"));
  for (const auto& entry : std::filesystem::directory_iterator(s.folder / "model")) {
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }
  run(s, "model", SmallTraining::options(30));
  run(s, "whole", SmallTraining::options(30));
  expect_same_bits(saved(s, "whole"), saved(s, "model"));
}

TEST(Trainer, SaysWhatDoesNotBelongTogether) {
  const SmallTraining s(200), other(300);
  run(s, "model", SmallTraining::options(5));
  auto o = SmallTraining::options(9);
  o.learning_rate = 1;
  EXPECT_TRUE(says(message_of([&] { run(s, "model", o); }),
                   "options.learning_rate was 0.005, now it is 1"));
  const std::string data =
      message_of([&] { run_alone(s, *other.corpus, SmallTraining::options(9)); });
  EXPECT_TRUE(says(data, "training began with something else: data."));
  EXPECT_TRUE(says(
      message_of([&] { run(s, "model", SmallTraining::options(9), nullptr, s.model("fixed")); }),
      "training began with something else: model."));
  std::filesystem::resize_file(s.folder / "model/training.safetensors", 1000);
  EXPECT_TRUE(says(message_of([&] { run(s, "model", SmallTraining::options(9)); }),
                   "training.safetensors"));
  std::filesystem::remove(s.folder / "model/training.safetensors");
  EXPECT_TRUE(says(message_of([&] { run(s, "model", SmallTraining::options(9)); }),
                   "holds a model, but not where its training stands"));
}

TEST(Trainer, OneAtATimeInAFolder) {
  const SmallTraining s(200);
  class Second : public Listener {
   public:
    Second(const SmallTraining& s) : s_(s) {}
    void on_step(const Step&) override {
      if (said.empty()) said = message_of([&] { run(s_, "model", SmallTraining::options(5)); });
    }
    const SmallTraining& s_;
    std::string said;
  };
  const auto second = std::make_shared<Second>(s);
  run(s, "model", SmallTraining::options(3), second);
  EXPECT_TRUE(says(second->said, "another process is training in"));
}

TEST(Trainer, TellsWhatIsLeftOut) {
  const SmallTraining s(300);
  std::string line;
  for (int word = 0; word < 10'000; ++word) line += "red ";
  s.folder.write("source", "\nred\n" + line + "\nblue green\n");
  s.folder.write("target", "RED\nRED\nRED\nBLUE GREEN\n");
  const text::ParallelCorpus corpus(s.folder / "source", s.folder / "target");
  const auto recorder = std::make_shared<Recorder>();
  run_alone(s, corpus, SmallTraining::options(3), recorder);
  ASSERT_EQ(recorder->notes.size(), 1u);
  EXPECT_TRUE(says(recorder->notes[0], "1 pairs with an empty side (line 1)"));
  EXPECT_TRUE(
      says(recorder->notes[0], "1 pairs longer than 40 tokens (line 3; the longest has 10000"));
}

TEST(Log, HasALineForEveryStepOnceHoweverOftenTrainingStopped) {
  const SmallTraining s(200);
  const auto log = s.folder / "log.jsonl";
  run(s, "model", SmallTraining::options(20), std::make_shared<JsonLog>(log, 1));
  std::ofstream(log, std::ios::app) << R"({"kind":"step","step":21,"nll":1})"
                                    << "\n{\"kind\":\"st";
  run(s, "model", SmallTraining::options(25), std::make_shared<JsonLog>(log, 1));
  std::vector<std::int64_t> steps;
  std::ifstream in(log);
  std::string line;
  while (std::getline(in, line)) {
    const auto json = nlohmann::json::parse(line);
    if (json["kind"] == "step") steps.push_back(json["step"]);
  }
  ASSERT_EQ(steps.size(), 25u);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i], static_cast<std::int64_t>(i) + 1);
  }
}

TEST(ProgressLine, IsABarOnATerminalAndLinesElsewhere) {
  const test::TemporaryFolder folder;
  for (const bool terminal : {true, false}) {
    std::FILE* out = std::fopen((folder / "out").c_str(), "w+");
    ProgressLine progress(out, "tokens", terminal);
    progress.on_start(100);
    progress.on_step(
        {.step = 101, .epoch = 0.5, .nll = 2, .tokens = 100, .seconds = 1, .fraction = 0.5});
    progress.on_step(
        {.step = 102, .epoch = 1, .nll = 2, .tokens = 100, .seconds = 2, .fraction = 1});
    progress.on_validation(
        {.step = 102, .epoch = 1, .nll = 1.5, .more = {{"perplexity", 4.48}}, .best = true});
    progress.on_end();
    std::fclose(out);
    std::ifstream in(folder / "out");
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    EXPECT_TRUE(says(text, "going on from step 100"));
    EXPECT_TRUE(says(text, "step 102, loss 2.000"));
    EXPECT_TRUE(says(text, "perplexity 4.48, the best so far"));
    EXPECT_EQ(text.find("[####") != std::string::npos, terminal);
    EXPECT_EQ(text.find('\r') != std::string::npos, terminal);
  }
  EXPECT_EQ(duration(7384), "2 h 03 min");
  EXPECT_EQ(duration(125), "2 min 05 s");
  EXPECT_EQ(duration(3.4), "3 s");
}

}  // namespace
}  // namespace regard::train
