// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/gguf.h"

#include <algorithm>
#include <set>

#include "nn/language/llama_config.h"
#include "regard/formats/gguf.h"
#include "regard/nn/checkpoint.h"
#include "regard/nn/rotary.h"

namespace regard::nn {
namespace {

using formats::GgufFile;
using nlohmann::json;

// Our tensors, of which of theirs each is made, row under row; * is a layer's number.
struct NameInGguf {
  const char* ours;
  std::vector<const char*> theirs;
};
const NameInGguf kNamesInGguf[] = {
    {"embedding.weight", {"token_embd.weight"}},
    {"output_weight", {"output.weight"}},
    {"norm_weight", {"output_norm.weight"}},
    {"in_proj_weight", {"blk.*.attn_q.weight", "blk.*.attn_k.weight", "blk.*.attn_v.weight"}},
    {"in_proj_bias", {"blk.*.attn_q.bias", "blk.*.attn_k.bias", "blk.*.attn_v.bias"}},
    {"out_proj_weight", {"blk.*.attn_output.weight"}},
    {"out_proj_bias", {"blk.*.attn_output.bias"}},
    {"gate_up_weight", {"blk.*.ffn_gate.weight", "blk.*.ffn_up.weight"}},
    {"down_weight", {"blk.*.ffn_down.weight"}},
    {"norm1_weight", {"blk.*.attn_norm.weight"}},
    {"norm2_weight", {"blk.*.ffn_norm.weight"}},
};

const char* const kRopeFactors = "rope_freqs.weight";

std::string name_in_layer(const char* pattern, const std::string& layer) {
  std::string name = pattern;
  if (const std::size_t star = name.find('*'); star != std::string::npos)
    name.replace(star, 1, layer);
  return name;
}

// Their names for one of ours: "layers.3.norm1_weight" is a layer's, "norm_weight" is not.
std::vector<std::string> names_of(const std::string& ours) {
  std::string layer, name = ours;
  if (ours.starts_with("layers.")) {
    const std::size_t end = ours.find('.', 7);
    layer = ours.substr(7, end - 7);
    name = ours.substr(end + 1);
  }
  std::vector<std::string> result;
  for (const NameInGguf& entry : kNamesInGguf) {
    if (name != entry.ours) continue;
    for (const char* theirs : entry.theirs) result.push_back(name_in_layer(theirs, layer));
  }
  return result;
}

// Llama 3.1 and later: llama.cpp keeps what each frequency is divided by, not what that was
// computed from. Only `factor` differs between these models; the others are RotaryOptions' own.
void read_rope_factors(const GgufFile& file, json& config) {
  const std::vector<float> factors = file.read(kRopeFactors);
  const LlamaConfig read = llama_config(config);
  RotaryOptions options = read.rotary;
  const std::int64_t dim = read.head_dim;
  if (std::ssize(factors) != dim / 2)
    throw std::runtime_error(std::string(kRopeFactors) + " has " + std::to_string(factors.size()) +
                             " factors; expected " + std::to_string(dim / 2) +
                             ", half a head's dim");
  const torch::Tensor plain = rotary_frequencies(dim, options);
  options.type = "llama3";
  options.factor = *std::max_element(factors.begin(), factors.end());
  const torch::Tensor expected = plain / rotary_frequencies(dim, options);
  if (!torch::allclose(torch::tensor(factors), expected, 1e-4, 0))
    throw std::runtime_error(std::string(kRopeFactors) +
                             " holds other factors than those of Llama 3.1 and later");
  config["rope_type"] = options.type;
  config["rope_factor"] = options.factor;
}

json config_of(const GgufFile& file) {
  const json& metadata = file.metadata();
  const json architecture = metadata.value("general.architecture", json());
  if (architecture != "llama")
    throw std::runtime_error("general.architecture is " + architecture.dump() +
                             "; expected \"llama\"");
  const auto read = [&](const char* name, const json& otherwise) {
    const auto found = metadata.find(std::string("llama.") + name);
    if (found != metadata.end()) return *found;
    if (otherwise.is_null()) throw std::runtime_error(std::string("no llama.") + name);
    return otherwise;
  };
  json config = {{"kind", "llama"},
                 {"dim", read("embedding_length", {})},
                 {"heads", read("attention.head_count", {})},
                 {"feed_forward", read("feed_forward_length", {})},
                 {"layers", read("block_count", {})},
                 {"norm_eps", read("attention.layer_norm_rms_epsilon", {})},
                 {"rope_theta", read("rope.freq_base", 10000.0)},
                 {"kv_heads", read("attention.head_count_kv", 0)},
                 {"head_dim", read("attention.key_length", 0)},
                 {"tied", !file.contains("output.weight")},
                 {"attention_bias", file.contains("blk.0.attn_q.bias")},
                 {"vocab", file.tensor("token_embd.weight").shape.at(0)}};
  const json scaling = read("rope.scaling.type", "none");
  if (scaling != "none" && scaling != "linear")
    throw std::runtime_error("llama.rope.scaling.type is " + scaling.dump() +
                             "; expected \"none\" or \"linear\"");
  if (scaling == "linear") {
    if (file.contains(kRopeFactors))
      throw std::runtime_error(std::string("llama.rope.scaling.type is \"linear\" beside ") +
                               kRopeFactors + ", which is not served");
    config["rope_type"] = "linear";
    config["rope_factor"] = read("rope.scaling.factor", 1.0);
  } else if (file.contains(kRopeFactors)) {
    read_rope_factors(file, config);
  }
  return config;
}

// llama.cpp turns neighbouring columns of a head together, we turn (i, i + dim / 2): its rows of
// queries and keys lie in another order.
torch::Tensor in_our_order(const torch::Tensor& weight, std::int64_t head_dim) {
  return weight.unflatten(0, {-1, head_dim / 2, 2}).transpose(1, 2).flatten(0, 2);
}

void fill(const torch::Tensor& ours, const GgufFile& file, const std::vector<std::string>& names,
          std::int64_t head_dim) {
  std::int64_t row = 0;
  for (const std::string& name : names) {
    const formats::GgufTensor& theirs = file.tensor(name);
    const auto size = torch::IntArrayRef(theirs.shape);
    if (size.empty() || size.slice(1) != ours.sizes().slice(1) || size[0] > ours.size(0) - row)
      throw std::runtime_error("tensor '" + name + "' is of another shape than the model's");
    const torch::Tensor part = ours.narrow(0, row, size[0]);
    formats::dequantize(theirs.type, theirs.data,
                        {part.data_ptr<float>(), static_cast<std::size_t>(part.numel())});
    const bool turned =
        name.find("attn_q.") != std::string::npos || name.find("attn_k.") != std::string::npos;
    if (turned && size[0] % head_dim == 0) part.copy_(in_our_order(part.clone(), head_dim));
    row += size[0];
  }
  if (row != ours.size(0))
    throw std::runtime_error("tensors '" + names.at(0) + "' ... have " + std::to_string(row) +
                             " rows; the model has " + std::to_string(ours.size(0)));
}

std::shared_ptr<CausalLM> read_gguf(const GgufFile& file) {
  const torch::NoGradGuard no_grad;
  const auto model = std::dynamic_pointer_cast<CausalLM>(build_model(config_of(file)));
  const auto head_dim = model->config().at("head_dim").get<std::int64_t>();
  std::set<std::string> used{kRopeFactors};
  for (const auto& [name, tensor] : named_tensors(*model)) {
    const std::vector<std::string> names = names_of(name);
    fill(tensor, file, names, head_dim);
    used.insert(names.begin(), names.end());
  }
  for (const std::string& name : file.names())
    if (!used.contains(name))
      throw std::runtime_error("tensor '" + name + "' belongs to nothing in the model");
  model->eval();
  return model;
}

}  // namespace

std::shared_ptr<CausalLM> load_gguf(const std::filesystem::path& path) {
  const GgufFile file = GgufFile::open(path);
  try {
    return read_gguf(file);
  } catch (const std::exception& error) {
    const std::string what = error.what(), name = path.string();
    throw std::runtime_error(what.starts_with(name) ? what : name + ": " + what);
  }
}

}  // namespace regard::nn
