// SPDX-License-Identifier: Apache-2.0
// What a Trainer trains: a model, batches in an order that a seed fixes, and what is minimised. A
// task knows its data and its model; the Trainer knows optimisers, schedules and checkpoints.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace regard::train {

// Where a task stands in its data: training that stops there goes on there.
struct Place {
  std::int64_t epoch = 0, chunk = 0, batch = 0;
  bool operator==(const Place&) const = default;
};

struct Loss {
  torch::Tensor value;  // what is minimised: a mean over the batch, with gradients
  double nll = 0;       // the same without smoothing and penalties, in nats
};

// A batch that is ready to be computed.
struct TaskBatch {
  std::int64_t count = 0;  // what its loss is a mean over, in the task's unit()
  std::string where;       // for messages: "lines 3, 17"
  std::function<Loss()> loss;
};

struct Metrics {
  double nll = 0;  // the mean loss over what there is to validate on
  // What the best model has least of: nll, where a task has nothing better.
  double cost = 0;
  // More to be shown, by name: {"perplexity", 12.1}, {"accuracy", 0.97}.
  std::vector<std::pair<std::string, double>> more;
};

class Task {
 public:
  virtual ~Task() = default;

  virtual torch::nn::Module& model() = 0;
  // What losses are means over: "tokens", "texts", "images".
  virtual const char* unit() const = 0;
  // Everything of model and data that the weights after a number of steps depend on, as JSON
  // objects by name ("model", "data", ...).
  virtual nlohmann::json identity() const = 0;

  // The next batch; nothing at an epoch's end (the call after that starts the next epoch).
  virtual std::optional<TaskBatch> next() = 0;
  virtual Place place() const = 0;  // of what next() will give
  virtual void seek(const Place& place) = 0;
  virtual double epoch_fraction() const = 0;  // how much of the epoch has been given out, 0 to 1
  // Something about the data that a person should know and has not been told, or "".
  virtual std::string news() { return ""; }

  // Whether there is something to validate on. validate() is called with the model in evaluation
  // mode, without gradients.
  virtual bool validates() const = 0;
  virtual Metrics validate() = 0;

  // Before the first step of a new training: what belongs into the folder beside the weights.
  virtual void save_beginning(const std::filesystem::path& /*folder*/) const {}
  // The model as others load it, each file whole or not at all.
  virtual void save_model(const std::filesystem::path& folder) const = 0;
};

}  // namespace regard::train
