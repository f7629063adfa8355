// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/post_processor.h"

namespace regard::text {
namespace {

using Kind = TemplatePart::Kind;

Encoding fill(const std::vector<TemplatePart>& parts, const std::vector<std::int64_t>& first,
              const std::vector<std::int64_t>& second) {
  Encoding out;
  const auto add = [&](const TemplatePart& part, std::int64_t id) {
    out.ids.push_back(id);
    out.type_ids.push_back(part.type_id);
  };
  for (const TemplatePart& part : parts) {
    if (part.kind == Kind::kToken) {
      add(part, part.id);
    } else {
      for (const std::int64_t id : part.kind == Kind::kFirst ? first : second) add(part, id);
    }
  }
  return out;
}

std::vector<TemplatePart> parts_of(const Json& list, const Json& special) {
  std::vector<TemplatePart> parts;
  for (const Json& one : list) {
    if (one.contains("Sequence")) {
      const Json& text = one["Sequence"];
      parts.push_back({text.at("id") == "A" ? Kind::kFirst : Kind::kSecond, 0,
                       text.at("type_id").get<std::int64_t>()});
    } else {
      const Json& token = one.at("SpecialToken");
      for (const Json& id : special.at(token.at("id").get<std::string>()).at("ids")) {
        parts.push_back(
            {Kind::kToken, id.get<std::int64_t>(), token.at("type_id").get<std::int64_t>()});
      }
    }
  }
  return parts;
}

// [CLS] A [SEP], [CLS] A [SEP] B [SEP]; RoBERTa's <s> A </s>, <s> A </s> </s> B </s>, all of type
// 0.
Template bert(const Json& settings, bool roberta) {
  const auto cls = settings.at("cls").at(1).get<std::int64_t>();
  const auto sep = settings.at("sep").at(1).get<std::int64_t>();
  const std::int64_t second = roberta ? 0 : 1;
  Template out;
  out.single = {{Kind::kToken, cls}, {Kind::kFirst}, {Kind::kToken, sep}};
  out.pair = out.single;
  if (roberta) out.pair.push_back({Kind::kToken, sep});
  out.pair.push_back({Kind::kSecond, 0, second});
  out.pair.push_back({Kind::kToken, sep, second});
  return out;
}

}  // namespace

Encoding Template::apply(const std::vector<std::int64_t>& first) const {
  return fill(single, first, {});
}

Encoding Template::apply(const std::vector<std::int64_t>& first,
                         const std::vector<std::int64_t>& second) const {
  return fill(pair, first, second);
}

Template template_of(const Json& settings) {
  if (settings.is_null()) return {};
  const std::string type = type_of(settings, "the post-processor");
  if (type == "TemplateProcessing") {
    const Json& special = settings.at("special_tokens");
    return {parts_of(settings.at("single"), special), parts_of(settings.at("pair"), special)};
  }
  if (type == "BertProcessing") return bert(settings, false);
  if (type == "RobertaProcessing") return bert(settings, true);
  if (type == "ByteLevel") return {};  // it moves offsets, which are not kept
  if (type == "Sequence") {
    Template out;
    int adding = 0;
    for (const Json& one : settings.at("processors")) {
      if (type_of(one, "the post-processor") == "ByteLevel") continue;
      if (++adding > 1) not_served("a post-processor", "Sequence of several that add tokens");
      out = template_of(one);
    }
    return out;
  }
  not_served("a post-processor", type);
}

}  // namespace regard::text
