// SPDX-License-Identifier: Apache-2.0
#include "regard/nn/seq2seq.h"

#include <stdexcept>

#include "nn/models/check_tokens.h"
#include "nn/models/hypotheses.h"
#include "nn/models/seq2seq_config.h"

namespace regard::nn {
namespace {

Cell cell_of(const std::string& name) {
  return name == "lstm" ? Cell::kLstm : name == "rnn" ? Cell::kRnn : Cell::kGru;
}

bool is_luong(const Seq2SeqConfig& config) {
  return config.attention != "fixed" && config.attention != "bahdanau";
}

LuongOptions luong_options(const Seq2SeqConfig& config) {
  LuongOptions options;
  options.score = config.attention == "dot"       ? LuongScore::kDot
                  : config.attention == "general" ? LuongScore::kGeneral
                  : config.attention == "concat"  ? LuongScore::kConcat
                                                  : LuongScore::kLocation;
  options.reach = config.reach == "local-m"   ? LuongReach::kLocalM
                  : config.reach == "local-p" ? LuongReach::kLocalP
                                              : LuongReach::kGlobal;
  options.window = config.window;
  options.positions = config.positions;
  return options;
}

RecurrentOptions encoder_options(const Seq2SeqConfig& config) {
  std::int64_t hidden = config.hidden;
  if (is_luong(config) && config.bidirectional) {
    if (hidden % 2 != 0)
      throw std::invalid_argument("hidden: " + std::to_string(hidden) +
                                  "; expected an even number: both directions of a Luong encoder "
                                  "make an annotation");
    hidden /= 2;
  }
  return {cell_of(config.cell), config.embedding,     hidden,
          config.layers,        config.bidirectional, config.dropout};
}

struct Seq2SeqState final : DecodingState {
  Seq2SeqState(DecoderState begun, std::int64_t sources, std::int64_t length)
      : decoder(std::move(begun)), hypotheses(sources), max_length(length) {}

  std::int64_t rows() const override { return hypotheses.rows(); }
  std::int64_t position() const override { return decoder.position; }
  void reorder(const torch::Tensor& rows) override {
    torch::NoGradGuard no_grad;
    const torch::Tensor memory = hypotheses.reorder(rows);
    decoder.rnn = decoder.rnn.select(rows);
    if (decoder.feed.defined()) decoder.feed = decoder.feed.index_select(0, rows);
    if (decoder.query.defined()) decoder.query = decoder.query.index_select(0, rows);
    if (memory.defined()) {
      decoder.memory = decoder.memory.select(memory);
      if (decoder.summary.defined()) decoder.summary = decoder.summary.index_select(0, memory);
    }
    decoder.width = hypotheses.width();
  }

  DecoderState decoder;
  Hypotheses hypotheses;
  std::int64_t max_length;
};

Seq2SeqState& seq2seq_state(DecodingState& state) {
  auto* mine = dynamic_cast<Seq2SeqState*>(&state);
  if (mine == nullptr) throw std::invalid_argument("state: of another kind of model");
  return *mine;
}

}  // namespace

Seq2Seq::Seq2Seq(const Seq2SeqConfig& config) : config_(seq2seq_config(to_json(config))) {
  const RecurrentOptions encoder = encoder_options(config);
  encoder_ = register_module("encoder", EncoderRNN(config.source_vocab, encoder));
  embedding_ = register_module("embedding", torch::nn::Embedding(torch::nn::EmbeddingOptions(
                                                config.target_vocab, config.embedding)));
  dropout_ = register_module("dropout", torch::nn::Dropout(config.dropout));
  DecoderOptions options;
  options.embedding = config.embedding;
  options.annotation = encoder_->annotation_dim();
  options.recurrent = {cell_of(config.cell), 0,     config.hidden,
                       config.layers,        false, config.dropout};
  options.dropout = config.dropout;
  if (is_luong(config))
    decoder_ =
        std::make_shared<LuongDecoderImpl>(options, luong_options(config), config.input_feeding);
  else
    decoder_ = std::make_shared<BahdanauDecoderImpl>(
        options, encoder.hidden, config.attention == "fixed" ? 0 : config.attention_dim,
        config.maxout);
  register_module("decoder", decoder_);
  output_ =
      register_module("output", torch::nn::Linear(decoder_->feature_dim(), config.target_vocab));
}

nlohmann::json Seq2Seq::config() const { return to_json(config_); }

torch::Tensor Seq2Seq::embed(const torch::Tensor& tokens) {
  return dropout_->forward(embedding_->forward(tokens));
}

torch::Tensor Seq2Seq::features(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                const torch::Tensor& target_in) {
  check_source(source, source_lengths, config_.source_vocab);
  check_target(target_in, source.size(0), config_.target_vocab);
  return decoder_->features(encoder_->forward(source, source_lengths), embed(target_in));
}

torch::Tensor Seq2Seq::logits(const torch::Tensor& features) { return output_->forward(features); }

std::vector<torch::Tensor> Seq2Seq::output_parameters() const {
  return {output_->weight, output_->bias};
}

std::unique_ptr<DecodingState> Seq2Seq::start(const torch::Tensor& source,
                                              const torch::Tensor& source_lengths,
                                              std::int64_t max_length) {
  torch::NoGradGuard no_grad;
  check_source(source, source_lengths, config_.source_vocab);
  return std::make_unique<Seq2SeqState>(decoder_->begin(encoder_->forward(source, source_lengths)),
                                        source.size(0), max_length);
}

torch::Tensor Seq2Seq::step(DecodingState& state, const torch::Tensor& tokens) {
  torch::NoGradGuard no_grad;
  Seq2SeqState& mine = seq2seq_state(state);
  check_step(tokens, mine.rows(), mine.position(), mine.max_length, config_.target_vocab);
  return logits(decoder_->step(mine.decoder, embed(tokens)));
}

torch::Tensor Seq2Seq::attention_weights(DecodingState& state) {
  torch::NoGradGuard no_grad;
  return decoder_->weights(seq2seq_state(state).decoder).unsqueeze(1);
}

torch::Tensor Seq2Seq::alignment(const torch::Tensor& source, const torch::Tensor& source_lengths,
                                 const torch::Tensor& target_in) {
  torch::NoGradGuard no_grad;
  check_source(source, source_lengths, config_.source_vocab);
  check_target(target_in, source.size(0), config_.target_vocab);
  DecoderState state = decoder_->begin(encoder_->forward(source, source_lengths));
  const torch::Tensor embedded = embed(target_in);
  std::vector<torch::Tensor> rows;
  for (std::int64_t i = 0; i < embedded.size(1); ++i) {
    decoder_->step(state, embedded.select(1, i));
    rows.push_back(decoder_->weights(state));
  }
  return torch::stack(rows, 1).unsqueeze(1);
}

}  // namespace regard::nn
