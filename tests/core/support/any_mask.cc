// SPDX-License-Identifier: Apache-2.0
#include "tests/core/support/any_mask.h"

#include <rapidcheck.h>

#include <sstream>

namespace regard::testing {
namespace {

template <typename T>
rc::Gen<T> in(T low, T high) {
  return rc::gen::inRange<T>(low, high + 1);
}

std::string any_leaf(bool packed) {
  std::ostringstream text;
  const auto offset = [&] {
    if (*rc::gen::arbitrary<bool>()) text << "@" << *rc::gen::inRange(-80, 200);
  };
  const auto side = [] {
    return *rc::gen::weightedOneOf<int>({{1, rc::gen::just(-1)}, {3, in(0, 12)}, {2, in(0, 150)}});
  };
  const auto seed = [] { return *rc::gen::inRange(0, 1000); };
  const auto axes = [] { return *rc::gen::inRange(0, 16); };
  switch (*rc::gen::inRange(0, packed ? 11 : 12)) {
    case 0: text << "c", offset(); break;
    case 1: text << "w" << side() << ":" << side(), offset(); break;
    case 2: text << "k" << seed(); break;
    case 3: text << "t" << seed() << ":" << axes(); break;
    case 4: text << "i" << side() << ":" << side() << ":" << seed(), offset(); break;
    case 5: text << "g" << seed(), offset(); break;
    case 6: text << "b" << seed() << ":" << axes(); break;
    case 7: text << "x" << seed(), offset(); break;
    case 8: text << "e" << seed(); break;
    case 9: text << "a" << seed() << ":" << axes(); break;
    case 10: text << "r" << seed(); break;
    default: text << "d" << seed(); break;
  }
  return text.str();
}

}  // namespace

std::string any_mask() {
  const int leaves = *rc::gen::weightedElement<int>({{2, 0}, {5, 1}, {4, 2}, {2, 3}});
  const bool packed = *rc::gen::weightedElement<bool>({{5, false}, {1, true}});
  std::string text = packed ? "p" + std::to_string(*rc::gen::inRange(0, 1000)) : "";
  for (int n = 0; n < leaves; ++n) {
    if (!text.empty()) text += ".";
    text += any_leaf(packed);
    if (*rc::gen::weightedElement<bool>({{3, false}, {1, true}})) text += ".~";
    if (n > 0) text += *rc::gen::arbitrary<bool>() ? ".&" : ".|";
    if (n > 0 && *rc::gen::weightedElement<bool>({{7, false}, {1, true}})) text += ".~";
  }
  return text;
}

}  // namespace regard::testing
