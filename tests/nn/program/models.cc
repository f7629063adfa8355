// SPDX-License-Identifier: Apache-2.0
#include "any_model.h"
#include "regard/nn/causal_lm.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/gguf.h"
#include "regard/nn/loss.h"
#include "regard/nn/pretrained.h"
#include "regard/nn/sequence_model.h"
#include "regard/nn/text_encoder.h"
#include "request.h"

namespace nn = regard::nn;
using nlohmann::json;

namespace {

// A model from a config, with the request's parameters where it brings any; or from a folder.
std::shared_ptr<nn::SequenceModel> model_of(Request& request) {
  auto model = std::dynamic_pointer_cast<nn::SequenceModel>(any_model(request));
  if (model == nullptr) throw std::invalid_argument("request: not a model of sequences");
  return model;
}

nn::CausalLM& causal_lm(nn::SequenceModel& model) { return dynamic_cast<nn::CausalLM&>(model); }

torch::Tensor rows_of(const json& lists) {
  std::vector<torch::Tensor> rows;
  for (const json& list : lists)
    rows.push_back(torch::tensor(list.get<std::vector<std::int64_t>>(), torch::kInt64));
  return torch::stack(rows);
}

}  // namespace

std::shared_ptr<nn::Model> any_model(Request& request) {
  const json& asked = request.json;
  if (asked.contains("folder")) return nn::load_any_model(asked["folder"].get<std::string>());
  if (asked.contains("pretrained")) {
    const auto from = asked["pretrained"].get<std::string>();
    std::shared_ptr<nn::Model> model;
    if (from.ends_with(".gguf"))
      model = nn::load_gguf(from);
    else
      model = nn::open_model(from, asked.value("changes", json::object()));
    if (asked.value("dtype", "") == "bfloat16") model->to(torch::kBFloat16);
    request.collect(*model);
    return model;
  }
  auto model = nn::build_model(asked.at("config"));
  if (asked.value("fresh", false)) return model;  // with parameters as drawn
  request.load(*model);
  return model;
}

void run_model(Request& request) {
  const auto model = model_of(request);
  const torch::Tensor source = request.tensor("source"), lengths = request.tensor("lengths"),
                      target = request.tensor("target");
  if (request.json.value("alignment", false))
    request.out["alignment"] = model->alignment(source, lengths, target);
  request.answer(model->forward(source, lengths, target));
}

// "steps": a list of {"tokens": [...]} (none: the likeliest of the last step, or the first tokens),
// {"reorder": [...]}, {"advance": rows of tokens} or {"read": the same}. Answers logits.N and,
// where asked for, weights.N of each step and of what was read.
void run_decode(Request& request) {
  const auto model = model_of(request);
  const torch::Tensor source = request.tensor("source"), lengths = request.tensor("lengths");
  const auto state = model->start(source, lengths, request.json.at("max_length"));
  torch::Tensor tokens = model->first_tokens(source, lengths);
  std::vector<torch::Tensor> chosen;
  int number = 0;
  for (const json& step : request.json.at("steps")) {
    if (step.contains("reorder")) {
      state->reorder(torch::tensor(step["reorder"].get<std::vector<std::int64_t>>()));
      continue;
    }
    if (step.contains("advance")) {
      causal_lm(*model).advance(*state, rows_of(step["advance"]));
      continue;
    }
    if (step.contains("tokens"))
      tokens = torch::tensor(step["tokens"].get<std::vector<std::int64_t>>());
    const torch::Tensor logits = step.contains("read")
                                     ? causal_lm(*model).read(*state, rows_of(step["read"]))
                                     : model->step(*state, tokens);
    const std::string suffix = "." + std::to_string(number++);
    if (!request.json.value("only_tokens", false)) request.out["logits" + suffix] = logits;
    if (request.json.value("weights", false))
      request.out["weights" + suffix] = model->attention_weights(*state);
    tokens = logits.argmax(-1);
    request.out["tokens" + suffix] = tokens;
  }
}

// hidden.N, and the weights of layer N's attention, map.N.
void run_hidden_states(Request& request) {
  const auto model = std::dynamic_pointer_cast<nn::CausalLM>(any_model(request));
  torch::NoGradGuard no_grad;
  const torch::Tensor tokens = request.tensor("target");
  std::int64_t number = 0;
  for (const torch::Tensor& state : model->hidden_states(tokens))
    request.out["hidden." + std::to_string(number++)] = state;
  for (std::int64_t layer = 0; layer < model->layers(); ++layer)
    request.out["map." + std::to_string(layer)] = model->attention_map(tokens, layer);
}

void run_loss(Request& request) {
  const auto model = model_of(request);
  const nn::SequenceLoss loss = nn::sequence_loss(
      *model,
      {request.tensor("source"), request.tensor("lengths"), request.tensor("target"),
       request.tensor("target_out"), request.optional("target_lengths")},
      request.json.value("smoothing", 0.0), request.json.value("chunk", 1024));
  request.out["nll"] = torch::tensor(loss.nll);
  request.answer(loss.loss);
}

void run_checkpoint(Request& request) {
  const std::string folder = request.json.at("save_to");
  const auto model = any_model(request);
  nn::save_model(folder, *model);
  request.out = nn::named_tensors(*model);
}

void run_save_pretrained(Request& request) {
  nn::save_pretrained(request.json.at("save_to").get<std::string>(), *any_model(request));
}

// "head" logits, hidden.N, and with "maps" the weights of layer N's attention, map.N; "pooled" and
// "mean" where asked for.
void run_encoder(Request& request) {
  const auto model = std::dynamic_pointer_cast<nn::TextEncoder>(any_model(request));
  if (model == nullptr) throw std::invalid_argument("request: not a text encoder");
  const nn::TextInput input{request.tensor("tokens"), request.optional("lengths"),
                            request.optional("mask"), request.optional("segments"),
                            request.optional("global")};
  const std::string asked = request.json.value("output", "head");
  std::int64_t number = 0;
  const std::vector<torch::Tensor> states = model->hidden_states(input);
  for (const torch::Tensor& state : states)
    request.out["hidden." + std::to_string(number++)] = state.detach();
  if (request.json.value("maps", false))
    for (std::int64_t layer = 0; layer < model->layers(); ++layer)
      request.out["map." + std::to_string(layer)] = model->attention_map(input, layer);
  const torch::Tensor& last = states.back();
  if (asked == "head") return request.answer(model->logits(last, input));
  if (asked == "pooled") return request.answer(model->pooled(last, input));
  request.answer(asked == "mean" ? nn::TextEncoder::mean(last, input) : last);
}
