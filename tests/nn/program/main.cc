// SPDX-License-Identifier: Apache-2.0
// nn_program REQUEST.json IN.safetensors OUT.safetensors
#include <fstream>
#include <iostream>

#include "regard/nn/checkpoint.h"
#include "request.h"

void Request::load(torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> parameters;
  for (const auto& [name, value] : in)
    if (name.starts_with("p.")) parameters[name.substr(2)] = value;
  regard::nn::load_tensors(module, parameters, "request");
  module.eval();
  collect(module);
}

void Request::collect(torch::nn::Module& module) {
  for (const auto& parameter : module.named_parameters())
    leaves["p." + parameter.key()] = parameter.value();
}

void Request::answer(const torch::Tensor& result) {
  out["out"] = result;
  const torch::Tensor d_out = optional("d_out");
  if (!d_out.defined()) return;
  std::vector<std::string> names;
  std::vector<torch::Tensor> values;
  for (const auto& [name, value] : leaves) {
    names.push_back(name);
    values.push_back(value);
  }
  const auto gradients = torch::autograd::grad({result}, values, {d_out}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  for (std::size_t i = 0; i < names.size(); ++i)
    if (gradients[i].defined()) out["d." + names[i]] = gradients[i];
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: nn_program REQUEST.json IN.safetensors OUT.safetensors\n";
    return 2;
  }
  const std::map<std::string, void (*)(Request&)> commands{{"attention", run_attention},
                                                           {"module", run_module},
                                                           {"model", run_model},
                                                           {"decode", run_decode},
                                                           {"loss", run_loss},
                                                           {"checkpoint", run_checkpoint},
                                                           {"save_pretrained", run_save_pretrained},
                                                           {"hidden_states", run_hidden_states},
                                                           {"encoder", run_encoder},
                                                           {"vision", run_vision},
                                                           {"detr", run_detr},
                                                           {"assign", run_assign}};
  try {
    Request request;
    std::ifstream(argv[1]) >> request.json;
    request.in = regard::nn::read_safetensors(argv[2]).tensors;
    torch::manual_seed(request.json.value("seed", 0));
    commands.at(request.json.at("command"))(request);
    regard::nn::write_safetensors(argv[3], {request.out, {}});
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
