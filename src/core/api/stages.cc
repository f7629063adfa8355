#include "core/api/stages.h"

namespace regard {
namespace {

template <class View>
View spread(View view, const Shape& full) {
  for (std::size_t axis = 0; axis < 4; ++axis) {
    if (view.shape[axis] == 1) view.strides[axis] = 0;
    view.shape[axis] = full[axis];
  }
  return view;
}

}  // namespace

void order_stages(const Options& options, const Shape& full, const std::vector<MutableTensorView>& d_bias, std::vector<kernels::Stage>& stages) {
  stages.clear();
  const auto add_biases = [&](bool before_softcap) {
    std::size_t index = 0;
    for (const Modifier& modifier : options.modifiers) {
      const Bias* bias = std::get_if<Bias>(&modifier);
      if (bias == nullptr) continue;
      const std::size_t own = index++;
      if (bias->before_softcap != before_softcap) continue;
      kernels::Stage stage{kernels::Stage::Kind::kBias, 0, spread(bias->values, full), {}};
      if (own < d_bias.size() && d_bias[own].given()) stage.gradient = spread(d_bias[own], full);
      stages.push_back(stage);
    }
  };
  add_biases(true);
  for (const Modifier& modifier : options.modifiers) {
    if (const Softcap* softcap = std::get_if<Softcap>(&modifier)) stages.push_back({kernels::Stage::Kind::kSoftcap, softcap->cap, {}, {}});
  }
  add_biases(false);
}

}  // namespace regard
