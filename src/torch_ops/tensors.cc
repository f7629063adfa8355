// SPDX-License-Identifier: Apache-2.0
#include "torch_ops/tensors.h"

#include <sys/mman.h>

#include <array>
#include <new>
#include <stdexcept>
#include <string>

namespace regard::torch_ops {
namespace {

// An address for tensors without elements: PyTorch gives them none, and the core reads none as "not
// given".
alignas(64) char nothing[64];

void check(AOTITorchError error, const char* what) {
  if (error != AOTI_TORCH_SUCCESS)
    throw std::runtime_error(std::string("regard: PyTorch could not ") + what);
}

DType dtype_of(std::int32_t code, const char* name) {
  using torch::headeronly::ScalarType;
  switch (static_cast<ScalarType>(code)) {
    case ScalarType::Float: return DType::kFloat32;
    case ScalarType::BFloat16: return DType::kBFloat16;
    case ScalarType::Half: return DType::kFloat16;
    case ScalarType::Double: return DType::kFloat64;
    case ScalarType::Bool: return DType::kBool;
    case ScalarType::Int: return DType::kInt32;
    case ScalarType::Long: return DType::kInt64;
    case ScalarType::Char: return DType::kInt8;
    default:
      throw std::invalid_argument(std::string(name) +
                                  ": this dtype is not one of float32, bfloat16, float16, float64, "
                                  "bool, int32, int64, int8");
  }
}

std::int32_t code_of(DType dtype) {
  using torch::headeronly::ScalarType;
  switch (dtype) {
    case DType::kFloat32: return static_cast<std::int32_t>(ScalarType::Float);
    case DType::kBFloat16: return static_cast<std::int32_t>(ScalarType::BFloat16);
    case DType::kFloat16: return static_cast<std::int32_t>(ScalarType::Half);
    case DType::kFloat64: return static_cast<std::int32_t>(ScalarType::Double);
    case DType::kBool: return static_cast<std::int32_t>(ScalarType::Bool);
    case DType::kInt32: return static_cast<std::int32_t>(ScalarType::Int);
    case DType::kInt64: return static_cast<std::int32_t>(ScalarType::Long);
    case DType::kInt8: return static_cast<std::int32_t>(ScalarType::Char);
  }
  throw std::logic_error("regard: a dtype without a PyTorch name");
}

[[noreturn]] void wrong_rank(const Described& tensor, const char* name, const char* expected) {
  std::string shape = "(";
  for (std::int64_t i = 0; i < tensor.rank; ++i)
    shape += (i ? ", " : "") + std::to_string(tensor.sizes[i]);
  throw std::invalid_argument(std::string(name) + ": shape " + shape + ") has " +
                              std::to_string(tensor.rank) + " dimensions, expected " + expected);
}

// Axis `to` of the view is axis `from` of the tensor; the others stay 1.
void put(const Described& tensor, MutableTensorView& view, int to, std::int64_t from) {
  view.shape[to] = tensor.sizes[from];
  view.strides[to] = tensor.strides[from];
}

MutableTensorView unit_view(const Described& tensor) {
  return {tensor.data, tensor.dtype, {1, 1, 1, 1}, {0, 0, 0, 0}};
}

// An output of 32 MiB or more is memory that the system has just handed out (where the allocator is
// glibc's, which keeps no freed block of that size), page by page as it is written: by 2 MiB, where
// it does so on request, that is several times as fast as by 4 KiB. All of it will be written, so
// that nothing is wasted. Smaller ones lie in memory that is kept, where pages of 2 MiB would be
// taken and given back with every call.
void ask_for_huge_pages(const std::int64_t* sizes, std::int64_t rank, DType dtype,
                        AtenTensorHandle handle) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t kHugePage = std::uintptr_t{1} << 21;
  std::uintptr_t bytes = size_of(dtype);
  for (std::int64_t i = 0; i < rank; ++i) bytes *= static_cast<std::uintptr_t>(sizes[i]);
  if (bytes < 16 * kHugePage) return;
  void* data = nullptr;
  check(aoti_torch_get_data_ptr(handle, &data), "read a tensor's address");
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(data),
                       begin = (first + kHugePage - 1) / kHugePage * kHugePage;
  const std::uintptr_t end = (first + bytes) / kHugePage * kHugePage;
  if (begin < end)
    madvise(reinterpret_cast<void*>(begin), end - begin,
            MADV_HUGEPAGE);  // a wish: it may be refused
#endif
}

}  // namespace

AxisOrder axis_order(std::int64_t code) {
  if (code < 0 || code > 2)
    throw std::invalid_argument("layout: code " + std::to_string(code) +
                                " is none of bhsd, bshd, thd");
  return static_cast<AxisOrder>(code);
}

Described::Described(const Tensor& tensor, const char* name) {
  AtenTensorHandle handle = tensor.get();
  std::int64_t *size_pointer, *stride_pointer;
  std::int32_t code;
  check(aoti_torch_get_dim(handle, &rank), "read a tensor's rank");
  check(aoti_torch_get_sizes(handle, &size_pointer), "read a tensor's sizes");
  check(aoti_torch_get_strides(handle, &stride_pointer), "read a tensor's strides");
  check(aoti_torch_get_dtype(handle, &code), "read a tensor's dtype");
  check(aoti_torch_get_data_ptr(handle, &data), "read a tensor's address");
  sizes = size_pointer;
  strides = stride_pointer;
  dtype = dtype_of(code, name);
  if (data == nullptr) data = nothing;
}

MutableTensorView axes_view(const Described& tensor, AxisOrder order, const char* name) {
  MutableTensorView view = unit_view(tensor);
  const std::int64_t rank = tensor.rank;
  if (order == AxisOrder::kBhsd) {
    if (rank < 2 || rank > 4) wrong_rank(tensor, name, "2 to 4 for layout bhsd");
    for (std::int64_t i = 0; i < rank; ++i) put(tensor, view, static_cast<int>(4 - rank + i), i);
    return view;
  }
  if (order == AxisOrder::kBshd && (rank < 3 || rank > 4))
    wrong_rank(tensor, name, "3 or 4 for layout bshd");
  if (order == AxisOrder::kThd && rank != 3) wrong_rank(tensor, name, "3 for layout thd");
  if (rank == 4) put(tensor, view, 0, 0);
  put(tensor, view, 2, rank - 3);
  put(tensor, view, 1, rank - 2);
  put(tensor, view, 3, rank - 1);
  return view;
}

MutableTensorView broadcast_view(const Described& tensor, const char* name) {
  if (tensor.rank > 4) wrong_rank(tensor, name, "at most 4");
  MutableTensorView view = unit_view(tensor);
  for (std::int64_t i = 0; i < tensor.rank; ++i)
    put(tensor, view, static_cast<int>(4 - tensor.rank + i), i);
  return view;
}

MutableTensorView row_view(const Described& tensor, const char* name) {
  if (tensor.rank < 1 || tensor.rank > 3) wrong_rank(tensor, name, "1 to 3");
  MutableTensorView view = unit_view(tensor);
  for (std::int64_t i = 0; i < tensor.rank; ++i)
    put(tensor, view, static_cast<int>(3 - tensor.rank + i), i);
  return view;
}

Tensor make_tensor(const std::int64_t* sizes, std::int64_t rank, DType dtype,
                   const std::int64_t* strides) {
  std::array<std::int64_t, 8> contiguous;
  if (strides == nullptr) {
    std::int64_t step = 1;
    for (std::int64_t i = rank - 1; i >= 0; --i) {
      contiguous[static_cast<std::size_t>(i)] = step;
      step *= sizes[i] > 0 ? sizes[i] : 1;
    }
    strides = contiguous.data();
  }
  // Straight to the allocator: through the dispatcher (aten::empty by name) the same costs a
  // microsecond.
  AtenTensorHandle handle = nullptr;
  check(aoti_torch_empty_strided(rank, sizes, strides, code_of(dtype), aoti_torch_device_type_cpu(),
                                 0, &handle),
        "allocate a tensor");
  Tensor made(handle);
  ask_for_huge_pages(sizes, rank, dtype, handle);
  return made;
}

void raise_if_failed(const Status& status) {
  if (status.ok()) return;
  if (status.code() == StatusCode::kInvalidArgument) throw std::invalid_argument(status.message());
  if (status.code() == StatusCode::kOutOfMemory) throw std::bad_alloc();
  throw std::runtime_error(status.message());
}

}  // namespace regard::torch_ops
