// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint.h"

#include <stdexcept>

#include "regard/nn/checkpoint.h"
#include "regard/nn/safetensors.h"

namespace regard::train {
namespace {

using torch::optim::AdamParamState;
using torch::optim::AdamWParamState;

constexpr int kFormat = 2;

std::string slot(std::size_t parameter, const char* name) {
  return "optimizer." + std::to_string(parameter) + "." + name;
}

// The two kinds of Adam keep the same numbers in types of their own. A parameter that has had no
// gradient yet has no state.
template <typename State>
nlohmann::json take_moments(torch::optim::Optimizer& optimizer,
                            std::map<std::string, torch::Tensor>& tensors) {
  nlohmann::json steps = nlohmann::json::array();
  const auto& parameters = optimizer.param_groups().front().params();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto found = optimizer.state().find(parameters[i].unsafeGetTensorImpl());
    if (found == optimizer.state().end()) {
      steps.push_back(0);
      continue;
    }
    auto& state = static_cast<State&>(*found->second);
    steps.push_back(state.step());
    tensors[slot(i, "exp_avg")] = state.exp_avg();
    tensors[slot(i, "exp_avg_sq")] = state.exp_avg_sq();
  }
  return steps;
}

template <typename State>
void put_moments(torch::optim::Optimizer& optimizer, const nlohmann::json& steps,
                 const std::map<std::string, torch::Tensor>& tensors) {
  const auto& parameters = optimizer.param_groups().front().params();
  if (steps.size() != parameters.size()) throw std::runtime_error("another number of parameters");
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto step = steps[i].get<std::int64_t>();
    if (step == 0) continue;
    auto state = std::make_unique<State>();
    state->step(step);
    for (const char* name : {"exp_avg", "exp_avg_sq"}) {
      const auto found = tensors.find(slot(i, name));
      if (found == tensors.end() || found->second.sizes() != parameters[i].sizes()) {
        throw std::runtime_error(slot(i, name) + " is missing, or of another shape");
      }
    }
    state->exp_avg(tensors.at(slot(i, "exp_avg")).clone());
    state->exp_avg_sq(tensors.at(slot(i, "exp_avg_sq")).clone());
    optimizer.state()[parameters[i].unsafeGetTensorImpl()] = std::move(state);
  }
}

bool is_adamw(torch::optim::Optimizer& optimizer) {
  return dynamic_cast<torch::optim::AdamW*>(&optimizer) != nullptr;
}

nlohmann::json to_json(const Progress& p) {
  nlohmann::json json{{"step", p.step},
                      {"tokens", p.tokens},
                      {"epoch", p.place.epoch},
                      {"chunk", p.place.chunk},
                      {"batch", p.place.batch},
                      {"seconds", p.seconds},
                      {"processor_seconds", p.processor_seconds},
                      {"best_step", p.best_step},
                      {"validated_step", p.validated_step},
                      {"without_gain", p.without_gain}};
  if (std::isfinite(p.best_cost)) json["best_cost"] = p.best_cost;
  return json;
}

Progress progress_of(const nlohmann::json& json) {
  Progress p;
  json.at("step").get_to(p.step);
  json.at("tokens").get_to(p.tokens);
  json.at("epoch").get_to(p.place.epoch);
  json.at("chunk").get_to(p.place.chunk);
  json.at("batch").get_to(p.place.batch);
  json.at("seconds").get_to(p.seconds);
  p.processor_seconds = json.value("processor_seconds", 0.0);  // earlier files have none
  json.at("best_step").get_to(p.best_step);
  json.at("validated_step").get_to(p.validated_step);
  json.at("without_gain").get_to(p.without_gain);
  if (json.contains("best_cost")) json.at("best_cost").get_to(p.best_cost);
  return p;
}

// The first thing in which two identities differ, for a person.
std::string difference(const Identity& before, const Identity& now, const std::string& path = "") {
  if (before.is_object() && now.is_object()) {
    for (const auto& [name, value] : now.items()) {
      const std::string inner = path.empty() ? name : path + "." + name;
      if (!before.contains(name)) return inner + " was not known";
      if (before[name] != value) return difference(before[name], value, inner);
    }
    for (const auto& [name, value] : before.items()) {
      if (!now.contains(name)) return (path.empty() ? name : path + "." + name) + " is gone";
    }
  }
  return path + " was " + before.dump() + ", now it is " + now.dump();
}

}  // namespace

void save_checkpoint(const std::filesystem::path& file, const torch::nn::Module& model,
                     torch::optim::Optimizer& optimizer, const Progress& progress,
                     const Identity& identity) {
  nn::TensorFile contents;
  for (const auto& [name, tensor] : nn::named_tensors(model)) {
    contents.tensors["model." + name] = tensor;
  }
  const nlohmann::json steps = is_adamw(optimizer)
                                   ? take_moments<AdamWParamState>(optimizer, contents.tensors)
                                   : take_moments<AdamParamState>(optimizer, contents.tensors);
  contents.tensors["generator"] = at::detail::getDefaultCPUGenerator().get_state();
  contents.metadata["training"] = nlohmann::json{
      {"format", kFormat},
      {"progress", to_json(progress)},
      {"identity", identity},
      {"optimizer_steps", steps}}.dump();
  nn::write_safetensors(file, contents);
}

Progress load_checkpoint(const std::filesystem::path& file, torch::nn::Module& model,
                         torch::optim::Optimizer& optimizer, const Identity& identity) {
  const nn::TensorFile contents = nn::read_safetensors(file);
  const auto fail = [&file](const std::string& what) {
    throw std::runtime_error(file.string() + ": " + what);
  };
  try {
    const auto json = nlohmann::json::parse(contents.metadata.at("training"));
    if (json.at("format") != kFormat) fail("a checkpoint of another version of Regard");
    if (json.at("identity") != identity) {
      fail("training began with something else: " + difference(json.at("identity"), identity) +
           ". Go on with what it began with, or train into another folder");
    }
    std::map<std::string, torch::Tensor> weights;
    for (const auto& [name, tensor] : contents.tensors) {
      if (name.starts_with("model.")) weights[name.substr(6)] = tensor;
    }
    nn::load_tensors(model, weights, file.string());
    const auto& steps = json.at("optimizer_steps");
    if (is_adamw(optimizer)) {
      put_moments<AdamWParamState>(optimizer, steps, contents.tensors);
    } else {
      put_moments<AdamParamState>(optimizer, steps, contents.tensors);
    }
    auto generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(contents.tensors.at("generator"));
    return progress_of(json.at("progress"));
  } catch (const std::out_of_range&) {
    fail("not a checkpoint of a training");
  } catch (const nlohmann::json::exception& error) {
    fail(std::string("not a checkpoint of a training (") + error.what() + ")");
  } catch (const c10::Error& error) {
    fail(error.what_without_backtrace());
  }
  return {};
}

}  // namespace regard::train
