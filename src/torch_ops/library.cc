// SPDX-License-Identifier: Apache-2.0
// The operators' names and schemas. Those with an underscore are the package's own and have no
// autograd; regard::attention is the one that compilers see (its autograd, shapes and autocast are
// registered from Python: python/regard/_torch/public_op.py).
#include "torch_ops/operators.h"

namespace regard::torch_ops {

STABLE_TORCH_LIBRARY(regard, library) {
  library.def("_attend(Tensor query, Tensor key, Tensor value, int mask, float? scale) -> Tensor");
  library.def(
      "_attend_with(Tensor query, Tensor key, Tensor value, int[] ints, float[]? floats, Tensor[] "
      "tensors, int order) -> Tensor");
  library.def(
      "_attend_for_gradients(Tensor query, Tensor key, Tensor value, int mask, float? scale) -> "
      "(Tensor, Tensor)");
  library.def(
      "_attend_backward(Tensor d_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor "
      "statistics, int mask, float? scale,"
      " int wanted) -> Tensor[]");
  library.def(
      "_forward(Tensor query, Tensor key, Tensor value, SymInt[] ints, float[] floats, Tensor[] "
      "tensors, int order, int plan, bool lse)"
      " -> (Tensor, Tensor)");
  library.def(
      "_infer(Tensor query, Tensor key, Tensor value, SymInt[] ints, float[] floats, Tensor[] "
      "tensors, int order, int plan, bool lse)"
      " -> (Tensor, Tensor)");
  library.def(
      "attention(Tensor query, Tensor key, Tensor value, SymInt[] ints, float[] floats, Tensor[] "
      "tensors, int order)"
      " -> (Tensor, Tensor, Tensor)");
  library.def(
      "attention_backward(Tensor d_out, Tensor? d_lse, Tensor query, Tensor key, Tensor value, "
      "Tensor out, Tensor statistics,"
      " SymInt[] ints, float[] floats, Tensor[] tensors, int order, int plan, int wanted) -> "
      "Tensor[]");
  library.def(
      "attention_state(Tensor query, Tensor key, Tensor value, SymInt[] ints, float[] floats, "
      "Tensor[] tensors, int order)"
      " -> (Tensor, Tensor, Tensor)");
  library.def("prepare_keys(Tensor key) -> Tensor");
  library.def(
      "merge_states(Tensor[] outs, Tensor[] maxima, Tensor[] log_sums, int order) -> (Tensor, "
      "Tensor, Tensor)");
  library.def(
      "merge_states_backward(Tensor d_out, Tensor? d_log_sum, Tensor[] outs, Tensor[] maxima, "
      "Tensor[] log_sums, Tensor[] whole, int order,"
      " int wanted) -> Tensor[]");
  library.def(
      "_map(Tensor query, Tensor key, Tensor? maximum, Tensor? log_sum, Tensor? row_weights, "
      "SymInt[] ints, float[] floats, Tensor[] tensors, int order, int plan, str kind, "
      "SymInt[] region, bool mean_heads, SymInt[] size, str pooling) -> Tensor[]");
  library.def(
      "_rollout_layer(Tensor query, Tensor key, Tensor? maximum, Tensor? log_sum, Tensor rows, "
      "SymInt[] ints, float[] floats, Tensor[] tensors, int order, int plan, float residual) "
      "-> Tensor");
  library.def(
      "_cache_append(Tensor key, Tensor value, Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor(c!)? "
      "k_scale, Tensor(d!)? v_scale,"
      " Tensor lengths, Tensor? counts, Tensor? block_table, int order, int cache_order) -> ()");
  library.def(
      "_cache_attend(Tensor query, Tensor k_cache, Tensor v_cache, Tensor? k_scale, Tensor? "
      "v_scale, Tensor lengths,"
      " Tensor? block_table, Tensor? cu_q, SymInt[] ints, float[] floats, Tensor[] tensors, int "
      "order, int cache_order) -> (Tensor, Tensor)");
  library.def("_pages_make(int pages, int page_size) -> int");
  library.def("_pages_drop(int handle) -> ()");
  library.def("_pages_add(int handle) -> int");
  library.def("_pages_fork(int handle, int sequence, int length) -> int");
  library.def("_pages_free(int handle, int sequence) -> ()");
  library.def("_pages_truncate(int handle, int sequence, int length) -> ()");
  library.def("_pages_count_free(int handle) -> int");
  library.def("_pages_reserve(int handle, int[] sequences, int[] counts) -> Tensor");
  library.def("_pages_table(int handle, int[] sequences) -> (Tensor, Tensor)");
  library.def(
      "_make_plan(SymInt[] ints, Tensor[] tensors, int batch, int heads, int len_q, int len_k) -> "
      "int");
  library.def("_plan_density(int plan) -> float");
  library.def("_plan_picture(int plan, int batch, int head, int width) -> str");
  library.def("_free_plan(int plan) -> ()");
  library.def("_record_kinds() -> str");
  library.def("_options_text(SymInt[] ints, float[] floats, Tensor[] tensors) -> str");
  library.def("_kernel_target() -> str");
  library.def("_set_target(str name) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(regard, CPU, library) {
  library.impl("_attend", TORCH_BOX(&attend));
  library.impl("_attend_with", TORCH_BOX(&attend_with));
  library.impl("_attend_for_gradients", TORCH_BOX(&attend_for_gradients));
  library.impl("_attend_backward", TORCH_BOX(&attend_backward));
  library.impl("_forward", TORCH_BOX(&forward_op));
  library.impl("_infer", TORCH_BOX(&infer));
  library.impl("_map", TORCH_BOX(&map_op));
  library.impl("_rollout_layer", TORCH_BOX(&rollout_layer));
  library.impl("attention", TORCH_BOX(&attention_op));
  library.impl("attention_backward", TORCH_BOX(&backward_op));
  library.impl("attention_state", TORCH_BOX(&attention_state));
  library.impl("prepare_keys", TORCH_BOX(&prepare_keys_op));
  library.impl("merge_states", TORCH_BOX(&merge_states));
  library.impl("merge_states_backward", TORCH_BOX(&merge_states_backward));
  library.impl("_cache_append", TORCH_BOX(&cache_append));
  library.impl("_cache_attend", TORCH_BOX(&cache_attend));
}

// Nothing to dispatch on: these take no tensors that could ask for another device.
STABLE_TORCH_LIBRARY_IMPL(regard, CompositeExplicitAutograd, library) {
  library.impl("_make_plan", TORCH_BOX(&make_plan));
  library.impl("_plan_density", TORCH_BOX(&plan_density));
  library.impl("_plan_picture", TORCH_BOX(&plan_picture));
  library.impl("_free_plan", TORCH_BOX(&free_plan));
  library.impl("_record_kinds", TORCH_BOX(&record_kinds));
  library.impl("_options_text", TORCH_BOX(&options_text));
  library.impl("_pages_make", TORCH_BOX(&pages_make));
  library.impl("_pages_drop", TORCH_BOX(&pages_drop));
  library.impl("_pages_add", TORCH_BOX(&pages_add));
  library.impl("_pages_fork", TORCH_BOX(&pages_fork));
  library.impl("_pages_free", TORCH_BOX(&pages_free));
  library.impl("_pages_truncate", TORCH_BOX(&pages_truncate));
  library.impl("_pages_count_free", TORCH_BOX(&pages_count_free));
  library.impl("_pages_reserve", TORCH_BOX(&pages_reserve));
  library.impl("_pages_table", TORCH_BOX(&pages_table));
  library.impl("_kernel_target", TORCH_BOX(&kernel_target_op));
  library.impl("_set_target", TORCH_BOX(&set_target_op));
}

}  // namespace regard::torch_ops
