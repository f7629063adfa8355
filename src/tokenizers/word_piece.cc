// SPDX-License-Identifier: Apache-2.0
// WordPiece as BERT uses it (Devlin et al. 2018, arXiv 1810.04805): the longest token that begins
// the word, then the longest that goes on from there; one unknown token where nothing fits.
#include <stdexcept>

#include "tokenizers/model.h"
#include "tokenizers/unicode.h"

namespace regard::text {
namespace {

class WordPiece : public Model {
 public:
  explicit WordPiece(const Json& settings)
      : prefix_(setting<std::string>(settings, "continuing_subword_prefix", "##")),
        longest_(setting<std::int64_t>(settings, "max_input_chars_per_word", 100)) {
    read_vocabulary(settings);
    const auto unknown = setting<std::string>(settings, "unk_token", "[UNK]");
    const auto found = id(unknown);
    if (!found) throw std::runtime_error("unk_token '" + unknown + "' is not in the vocabulary");
    unknown_ = *found;
  }

  void encode(std::string_view word, std::vector<std::int64_t>& ids) const override {
    std::vector<std::size_t> ends;  // of characters, in bytes
    each_code_point(word, [&](UChar32, std::size_t, std::size_t end) { ends.push_back(end); });
    const std::size_t size = ids.size();
    bool fits = static_cast<std::int64_t>(ends.size()) <= longest_;
    std::size_t begin = 0, first = 0;  // the next piece's first byte and character
    while (fits && begin < word.size()) {
      fits = false;
      for (std::size_t last = ends.size(); last-- > first;) {
        std::string piece(word.substr(begin, ends[last] - begin));
        if (begin > 0) piece.insert(0, prefix_);
        if (const auto found = id(piece)) {
          ids.push_back(*found);
          begin = ends[last];
          first = last + 1;
          fits = true;
          break;
        }
      }
    }
    if (!fits) {
      ids.resize(size);
      ids.push_back(unknown_);
    }
  }

 private:
  std::string prefix_;
  std::int64_t longest_;
  std::int64_t unknown_ = 0;
};

}  // namespace

std::unique_ptr<Model> make_word_piece(const Json& settings) {
  return std::make_unique<WordPiece>(settings);
}

}  // namespace regard::text
