// SPDX-License-Identifier: Apache-2.0
#include "cli/model_flags.h"

#include <algorithm>

#include "cli/flags.h"

namespace regard::cli {

void add_model_flags(CLI::App& command, ModelFlags& flags, const std::string& group) {
  const auto add = [&](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->capture_default_str()->group(group);
  };
  add("--model", flags.model,
      "bahdanau (additive attention), luong, fixed (one vector for the source) or transformer")
      ->check(CLI::IsMember({"bahdanau", "luong", "fixed", "transformer"}));
  add("--luong-score", flags.luong_score, "dot, general, concat or location")
      ->check(CLI::IsMember({"dot", "general", "concat", "location"}));
  add("--luong-reach", flags.luong_reach,
      "global, local-m (a window that moves along) or local-p (one that is predicted)")
      ->check(CLI::IsMember({"global", "local-m", "local-p"}));
  add("--window", flags.window, "Local reach: positions to each side")->check(kFromZero);
  command.add_flag("--no-input-feeding", flags.no_input_feeding, "Luong without input feeding")
      ->group(group);
  add("--cell", flags.cell, "Recurrent models: gru, lstm or rnn")
      ->check(CLI::IsMember({"gru", "lstm", "rnn"}));
  add("--dim", flags.dim, "Width; 0 is 512, or 256 for a transformer")->check(kFromZero);
  add("--layers", flags.layers, "0 is 1, or 3 for a transformer")->check(kFromZero);
  add("--embedding", flags.embedding, "Recurrent models: dims of an embedding")->check(kFromZero);
  add("--heads", flags.heads, "Transformer: heads");
  add("--norm", flags.norm, "Transformer: pre or post")->check(CLI::IsMember({"pre", "post"}));
  add("--dropout", flags.dropout, "0 to below 1");
}

nlohmann::json model_config(const ModelFlags& flags, std::int64_t vocabulary,
                            std::int64_t max_length) {
  nlohmann::json config{
      {"source_vocab", vocabulary}, {"target_vocab", vocabulary}, {"dropout", flags.dropout}};
  if (flags.model == "transformer") {
    const std::int64_t dim = flags.dim > 0 ? flags.dim : 256;
    const std::int64_t layers = flags.layers > 0 ? flags.layers : 3;
    config.update({{"kind", "transformer"},
                   {"dim", dim},
                   {"heads", flags.heads},
                   {"feed_forward", 4 * dim},
                   {"encoder_layers", layers},
                   {"decoder_layers", layers},
                   {"norm", flags.norm},
                   {"tied", "all"}});
    return config;
  }
  const std::int64_t dim = flags.dim > 0 ? flags.dim : 512;
  config.update({{"kind", "seq2seq"},
                 {"attention", flags.model == "luong" ? flags.luong_score : flags.model},
                 {"cell", flags.cell},
                 {"layers", flags.layers > 0 ? flags.layers : 1},
                 {"embedding", flags.embedding},
                 {"hidden", dim}});
  if (flags.model == "luong") {
    config.update(
        {{"reach", flags.luong_reach},
         {"window", flags.window},
         // Of location scores: as long as what `regard translate` makes parts of, at least.
         {"positions", std::max<std::int64_t>(max_length, 256) + 1},
         {"input_feeding", !flags.no_input_feeding}});
  } else {
    config["maxout"] = dim / 2;
  }
  if (flags.model == "bahdanau") config["attention_dim"] = dim;
  return config;
}

}  // namespace regard::cli
