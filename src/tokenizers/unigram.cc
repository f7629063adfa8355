// SPDX-License-Identifier: Apache-2.0
// The unigram language model (Kudo 2018, arXiv 1804.10959): of all ways to cut a word into tokens,
// the likeliest, by Viterbi's algorithm.
#include <algorithm>
#include <limits>
#include <stdexcept>

#include "tokenizers/model.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the least likely token, as SentencePiece has it

class Unigram : public Model {
 public:
  explicit Unigram(const Json& settings)
      : byte_fallback_(setting(settings, "byte_fallback", false)),
        unknown_(setting<std::int64_t>(settings, "unk_id", -1)) {
    double least = std::numeric_limits<double>::infinity();
    for (const Json& entry : settings.at("vocab")) {
      const auto token = entry.at(0).get<std::string>();
      const double score = entry.at(1).get<double>();
      vocabulary_[token] = static_cast<std::int64_t>(scores_.size());  // the last of equals counts
      scores_.push_back(score);
      least = std::min(least, score);
      longest_ = std::max(longest_, token.size());
    }
    if (unknown_ >= static_cast<std::int64_t>(scores_.size())) {
      throw std::runtime_error("unk_id " + std::to_string(unknown_) + " is outside the vocabulary");
    }
    unknown_score_ = least - kUnknownPenalty;
  }

  void encode(std::string_view word, std::vector<std::int64_t>& ids) const override {
    for (const auto& [begin, end] : best_cut(word)) {
      const std::string_view piece = word.substr(begin, end - begin);
      if (const auto found = id(piece)) {
        ids.push_back(*found);
        continue;
      }
      if (byte_fallback_) {
        if (const auto bytes = bytes_of(piece)) {
          ids.insert(ids.end(), bytes->begin(), bytes->end());
          continue;
        }
      }
      if (unknown_ < 0) {
        throw std::runtime_error("'" + std::string(piece) +
                                 "' has no token, and the vocabulary none for unknown text");
      }
      ids.push_back(unknown_);
    }
  }

 private:
  struct Node {
    double score = 0;
    std::size_t begin = std::string::npos;  // of the piece that ends here
    bool unknown = false;
  };

  // [begin, end) of the pieces; neighbouring unknown ones are one.
  std::vector<std::pair<std::size_t, std::size_t>> best_cut(std::string_view word) const {
    std::vector<Node> nodes(word.size() + 1);
    each_code_point(word, [&](UChar32, std::size_t begin, std::size_t next) {
      const double so_far = nodes[begin].score;
      const auto offer = [&](std::size_t end, double score, bool unknown) {
        Node& node = nodes[end];
        if (node.begin == std::string::npos || so_far + score > node.score) {
          node = {so_far + score, begin, unknown};
        }
      };
      bool single = false;  // this character is a token itself
      const std::size_t most = std::min(longest_, word.size() - begin);
      for (std::size_t length = 1; length <= most; ++length) {
        const auto found = id(word.substr(begin, length));
        if (!found) continue;
        offer(begin + length, scores_[static_cast<std::size_t>(*found)], *found == unknown_);
        single = single || begin + length == next;
      }
      if (!single) offer(next, unknown_score_, true);
    });
    std::vector<std::pair<std::size_t, std::size_t>> cut;
    bool after_unknown = false;
    for (std::size_t end = word.size(); end > 0; end = nodes[end].begin) {
      const Node& node = nodes[end];
      if (node.unknown && after_unknown) {
        cut.back().first = node.begin;
      } else {
        cut.emplace_back(node.begin, end);
      }
      after_unknown = node.unknown;
    }
    std::reverse(cut.begin(), cut.end());
    return cut;
  }

  bool byte_fallback_;
  std::int64_t unknown_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::size_t longest_ = 0;
};

}  // namespace

std::unique_ptr<Model> make_unigram(const Json& settings) {
  return std::make_unique<Unigram>(settings);
}

}  // namespace regard::text
