// SPDX-License-Identifier: Apache-2.0
#include "regard/train/trainer.h"

#include <ATen/cpu/Utils.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "regard/nn/checkpoint.h"
#include "regard/nn/loss.h"
#include "train/autocast.h"
#include "train/checkpoint.h"
#include "train/folder_lock.h"

namespace regard::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const TrainOptions& o,
                                                        std::vector<torch::Tensor> parameters) {
  const auto set = [&o](auto options) {
    options.lr(o.learning_rate).betas({o.beta1, o.beta2}).eps(o.epsilon);
    options.weight_decay(o.weight_decay);
    return options;
  };
  if (o.optimizer == "adamw") {
    return std::make_unique<torch::optim::AdamW>(std::move(parameters),
                                                 set(torch::optim::AdamWOptions()));
  }
  return std::make_unique<torch::optim::Adam>(std::move(parameters),
                                              set(torch::optim::AdamOptions()));
}

std::string lines_of(const std::vector<text::TokenPair>& pairs) {
  std::string lines;
  for (std::size_t i = 0; i < pairs.size() && i < 5; ++i) {
    lines += (i > 0 ? ", " : "") + std::to_string(pairs[i].line);
  }
  return lines + (pairs.size() > 5 ? ", ..." : "");
}

}  // namespace

bool has_bf16() {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : {"avx512_bf16", "amx_bf16"}) {
    const auto found = capabilities.find(name);
    if (found != capabilities.end() && found->second.isBool() && found->second.toBool())
      return true;
  }
  return false;
}

struct Trainer::Impl {
  std::shared_ptr<nn::SequenceModel> model;
  const text::Vocabulary& vocabulary;
  fs::path folder;
  TrainOptions options;
  std::vector<std::shared_ptr<Listener>> listeners = {};
  const std::atomic<bool>* stop = nullptr;

  std::unique_ptr<torch::optim::Optimizer> optimizer = nullptr;
  Progress progress = {};
  Identity identity = {};
  Clock::time_point started = {};
  double seconds_before = 0;  // of earlier runs
  text::LeftOut told = {};

  template <typename Event>
  void tell(const Event& event) {
    for (const auto& listener : listeners) event(*listener);
  }

  fs::path checkpoint_file() const { return folder / "training.safetensors"; }
  double seconds() const {
    return seconds_before + std::chrono::duration<double>(Clock::now() - started).count();
  }

  void begin(const text::ParallelCorpus& corpus, text::BatchStream& stream);
  void make_step(const std::vector<std::vector<text::TokenPair>>& batches,
                 const text::BatchStream& stream);
  void validate(const text::ParallelCorpus* validation, double epoch);
  template <typename Write>
  void keep(const Write& write) const;
  void save();
  void tell_left_out(const text::LeftOut& left_out);
  double fraction(double epoch) const;
  std::string ended_by() const;
};

// Writes something; where that fails, says that nothing is lost.
template <typename Write>
void Trainer::Impl::keep(const Write& write) const {
  try {
    write();
  } catch (const std::exception& error) {
    throw TrainingError(std::string(error.what()) +
                        ". What was saved before is whole: make room, and start the same command "
                        "again to go on from there");
  }
}

// Makes everything as it was at the checkpoint, or as a new training finds it.
void Trainer::Impl::begin(const text::ParallelCorpus& corpus, text::BatchStream& stream) {
  optimizer = make_optimizer(options, model->parameters());
  progress = {};
  identity = {{"model", model->config()},
              {"options", what_fixes_the_weights(options)},
              {"data", {{"lines", corpus.lines()}, {"fingerprint", corpus.fingerprint()}}}};
  if (fs::exists(checkpoint_file())) {
    progress = load_checkpoint(checkpoint_file(), *model, *optimizer, identity);
    stream.seek(progress.position);
  } else if (fs::exists(folder / "model.safetensors")) {
    throw TrainingError(folder.string() +
                        " holds a model, but not where its training stands: train into another "
                        "folder, or remove it first");
  } else {
    torch::manual_seed(options.seed);
    vocabulary.save(folder / "vocabulary.model");
  }
  seconds_before = progress.seconds;
  started = Clock::now();
  // From the first moment a folder with a model says where its training stands.
  if (progress.step == 0) save();
  tell([this](Listener& l) { l.on_start(progress.step); });
}

double Trainer::Impl::fraction(double epoch) const {
  double most = 0;
  const auto consider = [&most](double done, double limit) {
    if (limit > 0) most = std::max(most, done / limit);
  };
  consider(epoch, options.max_epochs);
  consider(seconds() / 60, options.max_minutes);
  consider(static_cast<double>(progress.step), static_cast<double>(options.max_steps));
  return std::min(most, 1.0);
}

std::string Trainer::Impl::ended_by() const {
  if (options.max_steps > 0 && progress.step >= options.max_steps) return "steps";
  if (options.max_epochs > 0 &&
      static_cast<double>(progress.position.epoch) >= options.max_epochs) {
    return "epochs";
  }
  if (options.max_minutes > 0 && seconds() >= 60 * options.max_minutes) return "minutes";
  if (options.patience > 0 && progress.without_gain >= options.patience) return "no gain";
  if (stop != nullptr && stop->load()) return "stopped";
  return "";
}

void Trainer::Impl::make_step(const std::vector<std::vector<text::TokenPair>>& batches,
                              const text::BatchStream& stream) {
  ++progress.step;
  std::vector<nn::Batch> tensors;
  std::int64_t tokens = 0;
  for (const auto& pairs : batches) {
    tensors.push_back(to_tensors(pairs));
    for (const auto& pair : pairs) tokens += static_cast<std::int64_t>(pair.target.size()) + 1;
  }
  const double rate = learning_rate(options, progress.step);
  for (auto& group : optimizer->param_groups()) group.options().set_lr(rate);
  optimizer->zero_grad();
  Step event;
  {
    const Autocast autocast(options.bf16);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto loss = nn::sequence_loss(*model, tensors[i], options.label_smoothing);
      const double share = static_cast<double>(loss.tokens) / static_cast<double>(tokens);
      const double value = loss.loss.item<double>();
      if (!std::isfinite(value)) {
        throw TrainingError("the loss of step " + std::to_string(progress.step) + " is " +
                            (std::isnan(value) ? "nan" : "infinite") + " (lines " +
                            lines_of(batches[i]) + "). The weights before it are kept in " +
                            folder.string() +
                            ". A lower --learning-rate or a longer --warmup usually helps");
      }
      (loss.loss * share).backward();
      event.loss += share * value;
      event.nll += share * loss.nll;
    }
  }
  const double limit =
      options.clip_norm > 0 ? options.clip_norm : std::numeric_limits<double>::infinity();
  event.gradient_norm = torch::nn::utils::clip_grad_norm_(model->parameters(), limit);
  if (!std::isfinite(event.gradient_norm)) {
    throw TrainingError("the gradient of step " + std::to_string(progress.step) + " (lines " +
                        lines_of(batches.front()) + ") is not finite. The weights before it are " +
                        "kept in " + folder.string() + ". A lower --learning-rate usually helps");
  }
  optimizer->step();

  progress.position = stream.position();
  progress.tokens += tokens;
  event.step = progress.step;
  event.epoch = static_cast<double>(progress.position.epoch) + stream.epoch_fraction();
  event.learning_rate = rate;
  event.tokens = tokens;
  event.seconds = seconds();
  event.fraction = fraction(event.epoch);
  tell([&event](Listener& l) { l.on_step(event); });
}

void Trainer::Impl::validate(const text::ParallelCorpus* validation, double epoch) {
  if (validation == nullptr || progress.validated_step == progress.step) return;
  const torch::NoGradGuard no_gradients;
  model->eval();
  text::BatchOptions whole = options.batches;
  whole.shuffle = false;
  text::BatchStream stream(*validation, vocabulary, whole);
  double sum = 0;
  std::int64_t tokens = 0;
  while (const auto pairs = stream.next()) {
    const Autocast autocast(options.bf16);
    const auto loss = nn::sequence_loss(*model, to_tensors(*pairs));
    sum += loss.nll * static_cast<double>(loss.tokens);
    tokens += loss.tokens;
  }
  Validation event{.step = progress.step, .epoch = epoch, .seconds = seconds()};
  event.nll = sum / static_cast<double>(tokens);
  event.perplexity = std::exp(event.nll);
  event.best = event.nll < progress.best_nll;
  if (event.best) {
    keep([this] { nn::save_model(folder, *model); });
    progress.best_nll = event.nll;
    progress.best_step = progress.step;
    progress.without_gain = 0;
  } else {
    ++progress.without_gain;
  }
  model->train();
  progress.validated_step = progress.step;
  tell([&event](Listener& l) { l.on_validation(event); });
}

void Trainer::Impl::save() {
  progress.seconds = seconds();
  keep([this] { save_checkpoint(checkpoint_file(), *model, *optimizer, progress, identity); });
  tell([this](Listener& l) { l.on_checkpoint(progress.step); });
}

// Said when it is first known, and again when it has doubled.
void Trainer::Impl::tell_left_out(const text::LeftOut& now) {
  if (now.empty + now.too_long <= 2 * (told.empty + told.too_long)) return;
  told = now;
  std::string said = "left out: ";
  if (now.empty > 0) {
    said += std::to_string(now.empty) + " pairs with an empty side (line " +
            std::to_string(now.first_empty) + (now.empty > 1 ? ", ...)" : ")");
  }
  if (now.too_long > 0) {
    said += (now.empty > 0 ? ", " : "") + std::to_string(now.too_long) + " pairs longer than " +
            std::to_string(options.batches.max_length) + " tokens (line " +
            std::to_string(now.first_too_long) + (now.too_long > 1 ? ", ...; " : "; ") +
            "the longest has " + std::to_string(now.longest) + ")";
  }
  tell([&said](Listener& l) { l.on_note(said); });
}

Trainer::Trainer(std::shared_ptr<nn::SequenceModel> model, const text::Vocabulary& vocabulary,
                 fs::path folder, TrainOptions options)
    : impl_(new Impl{.model = std::move(model),
                     .vocabulary = vocabulary,
                     .folder = std::move(folder),
                     .options = options}) {
  check(options);
  if (options.bf16 && !has_bf16()) {
    throw std::invalid_argument(
        "bf16: this processor has neither AVX512-BF16 nor AMX, it would be slower; expected false");
  }
}

Trainer::~Trainer() = default;

void Trainer::add(std::shared_ptr<Listener> listener) {
  impl_->listeners.push_back(std::move(listener));
}

void Trainer::stop_when(const std::atomic<bool>* stop) { impl_->stop = stop; }

Outcome Trainer::train(const text::ParallelCorpus& corpus, const text::ParallelCorpus* validation) {
  Impl& t = *impl_;
  fs::create_directories(t.folder);
  const FolderLock lock(t.folder);
  text::BatchStream stream(corpus, t.vocabulary, t.options.batches);
  t.begin(corpus, stream);
  t.model->train();
  std::string ended = t.ended_by();
  const bool nothing_to_do = !ended.empty();
  while (ended.empty()) {
    std::vector<std::vector<text::TokenPair>> batches;
    bool epoch_ended = false;
    while (!epoch_ended && static_cast<std::int64_t>(batches.size()) < t.options.accumulate) {
      auto batch = stream.next();
      epoch_ended = !batch.has_value();
      if (batch) batches.push_back(std::move(*batch));
    }
    t.tell_left_out(stream.left_out());
    if (!batches.empty()) t.make_step(batches, stream);
    t.progress.position = stream.position();

    // All that follows depends on the step and the place alone, so that a run that goes on from a
    // checkpoint does the same.
    const double epoch = static_cast<double>(t.progress.position.epoch) +
                         (epoch_ended ? 0 : stream.epoch_fraction());
    const std::int64_t every = t.options.validate_every;
    const bool validate = every > 0 ? t.progress.step % every == 0 : epoch_ended;
    if (validate) t.validate(validation, epoch);
    ended = t.ended_by();
    if (!ended.empty() && ended != "stopped") t.validate(validation, epoch);
    if (validation == nullptr && (validate || !ended.empty())) {
      t.keep([&t] { nn::save_model(t.folder, *t.model); });
    }
    if (validate || !ended.empty() || t.progress.step % t.options.checkpoint_every == 0) t.save();
  }
  t.tell([](Listener& l) { l.on_end(); });
  t.model->eval();
  return {.ended_by = ended,
          .steps = t.progress.step,
          .tokens = t.progress.tokens,
          .best_step = t.progress.best_step,
          .seconds = nothing_to_do ? t.progress.seconds : t.seconds(),
          .best_nll = std::isfinite(t.progress.best_nll)
                          ? t.progress.best_nll
                          : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace regard::train
