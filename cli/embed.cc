// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/commands.h"
#include "cli/encoder.h"
#include "cli/flags.h"
#include "files/atomic_file.h"
#include "regard/nn/keep_memory.h"

namespace regard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatch = 32;

struct EmbedOptions {
  fs::path model, out;
  std::vector<std::string> texts;
  std::string pooling = "auto";
  bool raw = false, json = false;
  int threads = 0;
};

// NumPy's own format (numpy.lib.format, version 1.0): a header of text, then the rows.
std::string npy(const torch::Tensor& vectors) {
  static_assert(std::endian::native == std::endian::little);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(vectors.size(0)) + ", " + std::to_string(vectors.size(1)) +
                       "), }";
  constexpr std::size_t kBefore = 10;  // the magic, the version and the header's length
  header.append(63 - (kBefore + header.size()) % 64, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 255);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  return file.append(reinterpret_cast<const char*>(vectors.data_ptr<float>()),
                     static_cast<std::size_t>(vectors.numel()) * sizeof(float));
}

std::string lines(const torch::Tensor& vectors, char between) {
  std::ostringstream text;
  text.precision(9);
  const auto value = vectors.accessor<float, 2>();
  for (std::int64_t i = 0; i < vectors.size(0); ++i) {
    for (std::int64_t j = 0; j < vectors.size(1); ++j) {
      if (j > 0) text << between;
      text << value[i][j];
    }
    text << '\n';
  }
  return text.str();
}

torch::Tensor embed(const Encoder& encoder, const std::vector<std::string>& texts,
                    const std::string& pooling, bool raw) {
  const torch::NoGradGuard no_gradients;
  // All of them first: a text that does not serve is named before anything is computed.
  std::vector<text::Encoding> encodings;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    encodings.push_back(encode_cut(encoder.tokenizer, texts[i], encoder.max_length,
                                   "text " + std::to_string(i + 1)));
  }
  std::vector<torch::Tensor> all;
  for (std::size_t i = 0; i < encodings.size(); i += kBatch) {
    const auto begin = encodings.begin() + static_cast<std::ptrdiff_t>(i);
    const std::size_t count = std::min(kBatch, encodings.size() - i);
    const nn::TextInput input = batch_of({begin, begin + static_cast<std::ptrdiff_t>(count)});
    const torch::Tensor hidden = encoder.model->encode(input);
    all.push_back(pooling == "cls" ? hidden.select(1, 0) : nn::TextEncoder::mean(hidden, input));
    nn::give_spare_memory_back();
  }
  torch::Tensor vectors = torch::cat(all);
  if (!raw) vectors = torch::nn::functional::normalize(vectors);
  return vectors.contiguous();
}

void run(const EmbedOptions& options) {
  const std::string ending = options.out.extension().string();
  if (!options.out.empty() && ending != ".npy" && ending != ".csv")
    throw std::invalid_argument("--out " + options.out.string() +
                                ": expected a name that ends with .npy or .csv");
  if (options.threads > 0) at::set_num_threads(options.threads);
  const Encoder encoder = load_encoder(options.model);
  const std::vector<std::string> texts = texts_or_lines(options.texts);
  std::string pooling = options.pooling == "auto" ? encoder.pooling : options.pooling;
  if (pooling.empty()) pooling = "mean";
  const torch::Tensor vectors = embed(encoder, texts, pooling, options.raw);
  if (!options.out.empty()) {
    files::write_file(options.out, ending == ".npy" ? npy(vectors) : lines(vectors, ','));
    std::cerr << options.out.string() << ": " << vectors.size(0) << " vectors of "
              << vectors.size(1) << '\n';
    return;
  }
  if (!options.json) {
    std::cout << lines(vectors, ' ');
    return;
  }
  for (std::int64_t i = 0; i < vectors.size(0); ++i) {
    const float* row = vectors.data_ptr<float>() + i * vectors.size(1);
    std::cout << nlohmann::json{{"text", texts[static_cast<std::size_t>(i)]},
                                {"vector", std::vector<float>(row, row + vectors.size(1))}}
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
              << '\n';
  }
}

}  // namespace

void add_embed(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("embed", "Texts as vectors that lie close where texts mean the same");
  const auto options = std::make_shared<EmbedOptions>();
  command->add_option("model", options->model, "A folder with an encoder (BERT, RoBERTa, ...)")
      ->required();
  command->add_option("texts", options->texts,
                      "Texts; without one, each line of standard input is one");
  command
      ->add_option("--pooling", options->pooling,
                   "mean of a text's tokens, or cls, its first one; auto: as the model's files "
                   "say, else mean")
      ->check(CLI::IsMember({"auto", "mean", "cls"}))
      ->capture_default_str();
  command->add_flag("--raw", options->raw, "Do not divide a vector by its length");
  CLI::Option* out =
      command->add_option("--out", options->out, "A .npy or .csv file, a row a text");
  add_threads(*command, options->threads);
  command->add_flag("--json", options->json, "A JSON object for each text")->excludes(out);
  command->footer(
      "The product of two vectors is the cosine between them.\n\nExamples:\n"
      "  regard embed all-MiniLM-L6-v2 'a library for reading files' 'reads files'\n"
      "  regard embed all-MiniLM-L6-v2 --out vectors.npy < lines.txt");
  command->callback([options] { run(*options); });
}

}  // namespace regard::cli
