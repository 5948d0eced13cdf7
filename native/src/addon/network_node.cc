#include "network_node.h"

#include <cstring>

#include "repfuse/checked.h"

namespace repfuse::addon {
namespace {

// Of what follows an activation, parts that a node may have.
constexpr uint32_t kMaxFollows = 16;

bool IsGiven(Arguments& arguments, const char* name) {
  const Napi::Value value = arguments.Get(name);
  return !value.IsNull() && !value.IsUndefined();
}

// A word of a table, where one is given.
template <typename Value, size_t kCount>
void ReadChoice(Arguments& arguments, const char* name, const Word<Value> (&words)[kCount], Value* out) {
  if (IsGiven(arguments, name)) ReadWord(arguments, name, words, out);
}

// A row that is found by its name.
template <typename Row>
void ReadRow(Arguments& arguments, const char* name, const Row* (*find)(std::string_view), const Row** out) {
  *out = find(arguments.String(name));
  if (*out == nullptr) arguments.Fail(name);
}

template <size_t kCount>
void ReadDoubles(Arguments& arguments, const char* name, std::array<double, kCount>* out) {
  const Napi::Value value = arguments.Get(name);
  if (!value.IsArray() || value.As<Napi::Array>().Length() != kCount) return arguments.Fail(name);
  for (uint32_t i = 0; i < kCount; ++i) {
    const Napi::Value item = value.As<Napi::Array>().Get(i);
    if (!item.IsNumber()) return arguments.Fail(name);
    (*out)[i] = item.As<Napi::Number>().DoubleValue();
  }
}

Status Copy(Arguments& arguments, const char* name, AlignedBuffer* out) {
  if (!IsGiven(arguments, name)) return Ok();
  const Operand* view = arguments.Array(arguments.Get(name), name, false);
  if (view == nullptr || view->type != napi_float32_array || view->count == 0) return {Code::kInvalidArgument, name};
  if (!out->Allocate(view->count * sizeof(float))) return {Code::kOutOfMemory, name};
  std::memcpy(out->data(), view->data, view->count * sizeof(float));
  return Ok();
}

// {activation, alpha, beta}, {sums: true} or {scale, shift}.
Status ReadFollow(Arguments arguments, NodeFollow* out) {
  if (IsGiven(arguments, "activation")) ReadRow(arguments, "activation", FindActivation, &out->activation);
  if (IsGiven(arguments, "alpha")) out->alpha = arguments.Float("alpha");
  if (IsGiven(arguments, "beta")) out->beta = arguments.Float("beta");
  if (IsGiven(arguments, "sums")) out->adds = arguments.Bool("sums");
  if (!arguments.status().ok()) return arguments.status();
  for (const auto& [name, buffer] : {std::pair{"scale", &out->scale}, std::pair{"shift", &out->shift}}) {
    const Status copied = Copy(arguments, name, buffer);
    if (!copied.ok()) return copied;
  }
  return Ok();
}

Status ReadFollows(Arguments& arguments, std::vector<NodeFollow>* out) {
  const Napi::Value value = arguments.Get("follows");
  if (!value.IsArray() || value.As<Napi::Array>().Length() > kMaxFollows) return {Code::kInvalidArgument, "follows"};
  for (uint32_t i = 0; i < value.As<Napi::Array>().Length(); ++i) {
    const Napi::Value item = value.As<Napi::Array>().Get(i);
    if (!item.IsObject()) return {Code::kInvalidArgument, "follows"};
    const Status read = ReadFollow(arguments.Child(item.As<Napi::Object>()), &out->emplace_back());
    if (!read.ok()) return read;
  }
  return Ok();
}

void ReadResize(Arguments arguments, ResizeOptions* out) {
  ReadChoice(arguments, "mode", kResizeModes, &out->mode);
  ReadChoice(arguments, "coordinates", kResizeCoordinates, &out->coordinates);
  ReadChoice(arguments, "nearest", kResizeNearest, &out->nearest);
  ReadChoice(arguments, "aspect", kResizeAspects, &out->aspect);
  out->exclude_outside = arguments.Bool("excludeOutside");
  out->antialias = arguments.Bool("antialias");
  out->cubic_a = arguments.Double("cubicA");
  out->extrapolation = arguments.Float("extrapolation");
  ReadDoubles(arguments, "scales", &out->scales);
  ReadDoubles(arguments, "crop", &out->crop);
  const auto sizes = arguments.Ints("sizes", 2, 0, kMaxDim);
  out->sizes = {sizes[0], sizes[1]};
}

}  // namespace

bool ReadShape(const Napi::Value& value, Shape* out) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() > kMaxRank) return false;
  int64_t count = 1;
  for (uint32_t axis = 0; axis < value.As<Napi::Array>().Length(); ++axis) {
    const Napi::Value item = value.As<Napi::Array>().Get(axis);
    const int64_t size = item.IsNumber() ? item.As<Napi::Number>().Int64Value() : 0;
    if (size < 1 || size > kMaxDim || !CheckedProduct({count, size}, &count)) return false;
    (*out)[out->rank++] = size;
  }
  return true;
}

Status ReadNode(Arguments& arguments, NetworkNode* node) {
  ReadRow(arguments, "kind", FindOperator, &node->op);
  node->name = arguments.String("name");
  if (IsGiven(arguments, "activation")) ReadRow(arguments, "activation", FindActivation, &node->activation);
  if (IsGiven(arguments, "alpha")) node->alpha = arguments.Float("alpha");
  if (IsGiven(arguments, "beta")) node->beta = arguments.Float("beta");
  const auto kernel = arguments.Ints("kernel", 2, 1, kMaxDim), stride = arguments.Ints("stride", 2, 1, kMaxDim);
  const auto dilation = arguments.Ints("dilation", 2, 1, kMaxDim), padding = arguments.Ints("padding", 4, -kMaxDim, kMaxDim);
  node->kernel_h = kernel[0];
  node->kernel_w = kernel[1];
  node->stride_h = stride[0];
  node->stride_w = stride[1];
  node->dilation_h = dilation[0];
  node->dilation_w = dilation[1];
  node->pad_top = padding[0];
  node->pad_left = padding[1];
  node->pad_bottom = padding[2];
  node->pad_right = padding[3];
  node->out_channels = arguments.Int("outChannels", 0, kMaxDim);
  node->groups = arguments.Int("groups", 1, kMaxDim);
  node->ceil_mode = arguments.Bool("ceilMode");
  node->count_include_pad = arguments.Bool("countIncludePad");
  if (IsGiven(arguments, "function")) ReadRow(arguments, "function", FindBinaryFunction, &node->function);
  if (IsGiven(arguments, "reduction")) ReadRow(arguments, "reduction", FindReduction, &node->reduction);
  node->constant_first = arguments.Bool("constantFirst");
  if (IsGiven(arguments, "ints")) node->ints = arguments.List("ints", -kMaxDim, kMaxDim);
  ReadChoice(arguments, "padMode", kPadModes, &node->pad_mode);
  if (IsGiven(arguments, "padValue")) node->pad_value = arguments.Float("padValue");
  if (IsGiven(arguments, "resize")) {
    const Napi::Value resize = arguments.Get("resize");
    if (!resize.IsObject()) return {Code::kInvalidArgument, "resize"};
    ReadResize(arguments.Child(resize.As<Napi::Object>()), &node->resize);
  }
  if (IsGiven(arguments, "follows")) {
    const Status read = ReadFollows(arguments, &node->follows);
    if (!read.ok()) return read;
  }
  if (!arguments.status().ok()) return arguments.status();
  for (const auto& [name, buffer] : {std::pair{"weight", &node->weight}, std::pair{"bias", &node->bias}}) {
    const Status copied = Copy(arguments, name, buffer);
    if (!copied.ok()) return copied;
  }
  return Ok();
}

Napi::Value ShapeToJs(Napi::Env env, const Shape& shape) {
  Napi::Array sizes = Napi::Array::New(env, static_cast<size_t>(shape.rank));
  for (int axis = 0; axis < shape.rank; ++axis) sizes.Set(static_cast<uint32_t>(axis), static_cast<double>(shape[axis]));
  return sizes;
}

}  // namespace repfuse::addon
