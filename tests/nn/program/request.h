// SPDX-License-Identifier: Apache-2.0
// What a test asks of nn_program: a JSON object, and tensors by name; answers are tensors by name.
#pragma once

#include <torch/torch.h>

#include <nlohmann/json.hpp>
#include <string>

#include "regard/nn/safetensors.h"

struct Request {
  nlohmann::json json;
  std::map<std::string, torch::Tensor> in;
  std::map<std::string, torch::Tensor> out;

  torch::Tensor tensor(const std::string& name) const {
    const auto found = in.find(name);
    if (found == in.end()) throw std::invalid_argument("request: no tensor " + name);
    return found->second;
  }
  torch::Tensor optional(const std::string& name) const {
    const auto found = in.find(name);
    return found == in.end() ? torch::Tensor() : found->second;
  }
  // A leaf whose gradient differentiate() writes.
  torch::Tensor leaf(const std::string& name) {
    torch::Tensor made = tensor(name).clone();
    if (!made.is_floating_point()) return made;
    made.requires_grad_(true);
    leaves[name] = made;
    return made;
  }
  // Puts the tensors called "p.NAME" into a module, which is then in evaluation mode.
  void load(torch::nn::Module& module);
  // Makes leaves of a module's parameters.
  void collect(torch::nn::Module& module);
  // Writes `result` as "out", and, with a tensor "d_out", the gradients of sum(result * d_out) to
  // leaves and the loaded module's parameters as "d.NAME".
  void answer(const torch::Tensor& result);

  std::map<std::string, torch::Tensor> leaves;
};

// Each reads a request and writes its answers.
void run_attention(Request& request);
void run_module(Request& request);
void run_model(Request& request);
void run_decode(Request& request);
void run_hidden_states(Request& request);
void run_loss(Request& request);
void run_checkpoint(Request& request);
void run_save_pretrained(Request& request);
void run_encoder(Request& request);
void run_vision(Request& request);
void run_detr(Request& request);
void run_assign(Request& request);
