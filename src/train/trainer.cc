// SPDX-License-Identifier: Apache-2.0
#include "regard/train/trainer.h"

#include <ATen/cpu/Utils.h>

#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <stdexcept>

#include "train/autocast.h"
#include "train/checkpoint.h"
#include "train/folder_lock.h"
#include "train/optimizer.h"

namespace regard::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Those that training changes; others may be kept as they were loaded.
std::vector<torch::Tensor> trained_parameters(const torch::nn::Module& model) {
  std::vector<torch::Tensor> trained;
  for (const auto& parameter : model.parameters())
    if (parameter.requires_grad()) trained.push_back(parameter);
  return trained;
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
  Task& task;
  fs::path folder;
  TrainOptions options;
  std::vector<std::shared_ptr<Listener>> listeners = {};
  const std::atomic<bool>* stop = nullptr;

  std::unique_ptr<torch::optim::Optimizer> optimizer = nullptr;
  Progress progress = {};
  Identity identity = {};
  Clock::time_point started = {};
  double seconds_before = 0, processor_seconds_before = 0;  // of earlier runs
  std::clock_t processor_started = 0;

  template <typename Event>
  void tell(const Event& event) {
    for (const auto& listener : listeners) event(*listener);
  }

  fs::path checkpoint_file() const { return folder / "training.safetensors"; }
  double seconds() const {
    return seconds_before + std::chrono::duration<double>(Clock::now() - started).count();
  }
  double processor_seconds() const {
    return processor_seconds_before +
           static_cast<double>(std::clock() - processor_started) / CLOCKS_PER_SEC;
  }

  void begin();
  void make_step(const std::vector<TaskBatch>& batches);
  void validate(double epoch);
  template <typename Write>
  void keep(const Write& write) const;
  void save();
  double epoch() const { return static_cast<double>(progress.place.epoch) + task.epoch_fraction(); }
  double fraction(double epoch) const;
  // `epoch`: how many passes over the data there have been, with the part of the last.
  std::string ended_by(double epoch) const;
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
void Trainer::Impl::begin() {
  optimizer = make_optimizer(options, trained_parameters(task.model()));
  progress = {};
  identity = task.identity();
  identity["options"] = what_fixes_the_weights(options);
  if (fs::exists(checkpoint_file())) {
    progress = load_checkpoint(checkpoint_file(), task.model(), *optimizer, identity);
    task.seek(progress.place);
  } else if (fs::exists(folder / "model.safetensors")) {
    throw TrainingError(folder.string() +
                        " holds a model, but not where its training stands: train into another "
                        "folder, or remove it first");
  } else {
    torch::manual_seed(options.seed);
    task.save_beginning(folder);
  }
  seconds_before = progress.seconds;
  processor_seconds_before = progress.processor_seconds;
  started = Clock::now();
  processor_started = std::clock();
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

std::string Trainer::Impl::ended_by(double epoch) const {
  if (options.max_steps > 0 && progress.step >= options.max_steps) return "steps";
  // A whole epoch has ended when the task says so, which is after its last batch; a part of one as
  // soon as it has been given out.
  const auto whole = static_cast<double>(progress.place.epoch);
  const bool in_part = whole < options.max_epochs && whole + 1 > options.max_epochs;
  if (options.max_epochs > 0 && (in_part ? epoch : whole) >= options.max_epochs) return "epochs";
  if (options.max_minutes > 0 && seconds() >= 60 * options.max_minutes) return "minutes";
  if (options.patience > 0 && progress.without_gain >= options.patience) return "no gain";
  if (stop != nullptr && stop->load()) return "stopped";
  return "";
}

void Trainer::Impl::make_step(const std::vector<TaskBatch>& batches) {
  ++progress.step;
  std::int64_t count = 0;
  for (const TaskBatch& batch : batches) count += batch.count;
  const double rate = learning_rate(options, progress.step);
  for (auto& group : optimizer->param_groups()) group.options().set_lr(rate);
  optimizer->zero_grad();
  Step event;
  {
    const Autocast autocast(options.bf16);
    for (const TaskBatch& batch : batches) {
      const Loss loss = batch.loss();
      const double share = static_cast<double>(batch.count) / static_cast<double>(count);
      const double value = loss.value.item<double>();
      if (!std::isfinite(value)) {
        throw TrainingError("the loss of step " + std::to_string(progress.step) + " is " +
                            (std::isnan(value) ? "nan" : "infinite") + " (" + batch.where +
                            "). The weights before it are kept in " + folder.string() +
                            ". A lower --learning-rate or a longer --warmup usually helps");
      }
      (loss.value * share).backward();
      event.loss += share * value;
      event.nll += share * loss.nll;
    }
  }
  const double limit =
      options.clip_norm > 0 ? options.clip_norm : std::numeric_limits<double>::infinity();
  event.gradient_norm = torch::nn::utils::clip_grad_norm_(trained_parameters(task.model()), limit);
  if (!std::isfinite(event.gradient_norm)) {
    throw TrainingError("the gradient of step " + std::to_string(progress.step) + " (" +
                        batches.front().where + ") is not finite. The weights before it are " +
                        "kept in " + folder.string() + ". A lower --learning-rate usually helps");
  }
  optimizer->step();

  progress.place = task.place();
  progress.tokens += count;
  event.step = progress.step;
  event.epoch = epoch();
  event.learning_rate = rate;
  event.tokens = count;
  event.seconds = seconds();
  event.fraction = fraction(event.epoch);
  tell([&event](Listener& l) { l.on_step(event); });
}

void Trainer::Impl::validate(double epoch) {
  if (!task.validates() || progress.validated_step == progress.step) return;
  const torch::NoGradGuard no_gradients;
  Metrics metrics;
  {
    const Autocast autocast(options.bf16);
    task.model().eval();
    metrics = task.validate();
    task.model().train();
  }
  Validation event;
  event.step = progress.step;
  event.epoch = epoch;
  event.seconds = seconds();
  event.nll = metrics.nll;
  event.more = metrics.more;
  event.best = metrics.cost < progress.best_cost;
  if (event.best) {
    keep([this] { task.save_model(folder); });
    progress.best_cost = metrics.cost;
    progress.best_step = progress.step;
    progress.without_gain = 0;
  } else {
    ++progress.without_gain;
  }
  progress.validated_step = progress.step;
  tell([&event](Listener& l) { l.on_validation(event); });
}

void Trainer::Impl::save() {
  progress.seconds = seconds();
  progress.processor_seconds = processor_seconds();
  keep(
      [this] { save_checkpoint(checkpoint_file(), task.model(), *optimizer, progress, identity); });
  tell([this](Listener& l) { l.on_checkpoint(progress.step); });
}

Trainer::Trainer(Task& task, fs::path folder, TrainOptions options)
    : impl_(new Impl{.task = task, .folder = std::move(folder), .options = options}) {
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

Outcome Trainer::train() {
  Impl& t = *impl_;
  fs::create_directories(t.folder);
  const FolderLock lock(t.folder);
  t.begin();
  t.task.model().train();
  std::string ended = t.ended_by(t.epoch());
  const bool nothing_to_do = !ended.empty();
  while (ended.empty()) {
    std::vector<TaskBatch> batches;
    bool epoch_ended = false;
    while (!epoch_ended && static_cast<std::int64_t>(batches.size()) < t.options.accumulate) {
      auto batch = t.task.next();
      epoch_ended = !batch.has_value();
      if (batch) batches.push_back(std::move(*batch));
    }
    if (const std::string news = t.task.news(); !news.empty()) {
      t.tell([&news](Listener& l) { l.on_note(news); });
    }
    if (!batches.empty()) t.make_step(batches);
    t.progress.place = t.task.place();

    // All that follows depends on the step and the place alone, so that a run that goes on from a
    // checkpoint does the same.
    const double epoch = epoch_ended ? static_cast<double>(t.progress.place.epoch) : t.epoch();
    const std::int64_t every = t.options.validate_every;
    const bool due = every > 0 ? t.progress.step % every == 0 : epoch_ended;
    ended = t.ended_by(epoch);
    if (due || (!ended.empty() && ended != "stopped")) {
      t.validate(epoch);
      ended = t.ended_by(epoch);  // it may have been one validation too many without a gain
    }
    if (!t.task.validates() && (due || !ended.empty())) {
      t.keep([&t] { t.task.save_model(t.folder); });
    }
    if (due || !ended.empty() || t.progress.step % t.options.checkpoint_every == 0) t.save();
  }
  t.tell([](Listener& l) { l.on_end(); });
  t.task.model().eval();
  return {.ended_by = ended,
          .steps = t.progress.step,
          .tokens = t.progress.tokens,
          .best_step = t.progress.best_step,
          .seconds = nothing_to_do ? t.progress.seconds : t.seconds(),
          .processor_seconds = nothing_to_do ? t.progress.processor_seconds : t.processor_seconds(),
          .best_cost = std::isfinite(t.progress.best_cost)
                           ? t.progress.best_cost
                           : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace regard::train
