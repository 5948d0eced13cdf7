#include "arguments.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

// Far above any network: a sparse array may claim 2^32 items.
constexpr uint32_t kMaxList = 1 << 24;

}  // namespace

void Arguments::Fail(const char* name) {
  if (root_->status_.ok()) root_->status_ = {Code::kInvalidArgument, name};
}

bool Arguments::Expect(const Status& status) {
  if (root_->status_.ok()) root_->status_ = status;
  return root_->status_.ok();
}

int Arguments::Threads() { return static_cast<int>(Int("threads", 1, kMaxThreads)); }

int64_t Arguments::Int(const char* name, int64_t low, int64_t high) {
  const Napi::Value value = object_.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || number != std::floor(number)) {
    Fail(name);
    return low;
  }
  return static_cast<int64_t>(number);
}

double Arguments::Double(const char* name) {
  const Napi::Value value = object_.Get(name);
  if (!value.IsNumber()) {
    Fail(name);
    return 0;
  }
  return value.As<Napi::Number>().DoubleValue();
}

float Arguments::Float(const char* name) {
  const double number = Double(name);
  if (std::isfinite(number) && std::abs(number) > std::numeric_limits<float>::max()) {
    Fail(name);
    return 0;
  }
  return static_cast<float>(number);
}

std::string Arguments::String(const char* name) {
  const Napi::Value value = object_.Get(name);
  if (!value.IsString()) {
    Fail(name);
    return {};
  }
  return value.As<Napi::String>().Utf8Value();
}

bool Arguments::Bool(const char* name) {
  const Napi::Value value = object_.Get(name);
  if (!value.IsBoolean()) {
    Fail(name);
    return false;
  }
  return value.As<Napi::Boolean>().Value();
}

std::vector<int64_t> Arguments::List(const char* name, int64_t low, int64_t high) {
  const Napi::Value value = object_.Get(name);
  std::vector<int64_t> out;
  if (!value.IsArray() || value.As<Napi::Array>().Length() > kMaxList) {
    Fail(name);
    return out;
  }
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array.Get(i);
    const double number = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : NAN;
    if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || number != std::floor(number)) {
      Fail(name);
      return out;
    }
    out.push_back(static_cast<int64_t>(number));
  }
  return out;
}

std::vector<int64_t> Arguments::Ints(const char* name, size_t count, int64_t low, int64_t high) {
  std::vector<int64_t> out = List(name, low, high);
  if (out.size() != count) {
    Fail(name);
    out.assign(count, low);
  }
  return out;
}

Operand* Arguments::Array(Napi::Value value, const char* name, bool writable) {
  if (!value.IsTypedArray()) {
    Fail(name);
    return nullptr;
  }
  Kept& kept = root_->operands_.emplace_back();
  kept.array = value.As<Napi::TypedArray>();
  kept.view.writable = writable;
  napi_value buffer;
  size_t offset;
  // A detached view reports length 0, so lengths checked by the caller also catch that.
  if (napi_get_typedarray_info(value.Env(), value, &kept.view.type, &kept.view.count, &kept.view.data, &buffer, &offset) != napi_ok) {
    Fail(name);
    return nullptr;
  }
  return &kept.view;
}

Operand* Arguments::F32(const char* name, int64_t count) {
  Operand* view = Array(object_.Get(name), name, false);
  if (view != nullptr && (view->type != napi_float32_array || view->count != static_cast<size_t>(count))) Fail(name);
  return view;
}

const Operand* Arguments::OptionalF32(const char* name, int64_t count) {
  const Napi::Value value = object_.Get(name);
  return value.IsNull() || value.IsUndefined() ? nullptr : F32(name, count);
}

Operand* Arguments::OutF32(const char* name, int64_t count) {
  Operand* view = Array(object_.Get(name), name, true);
  if (view != nullptr && (view->type != napi_float32_array || view->count != static_cast<size_t>(count))) Fail(name);
  return view;
}

namespace {

size_t ElementBytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array: return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array: return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: return 8;
    default: return 1;
  }
}

}  // namespace

Status Arguments::Keep(bool borrow) {
  for (Kept& kept : operands_) {
    kept.handle = Napi::Reference<Napi::Value>::New(kept.array, 1);
    if (borrow || kept.view.owned) continue;
    const size_t bytes = kept.view.count * ElementBytes(kept.view.type);
    if (!kept.copy.Allocate(bytes)) return {Code::kOutOfMemory, "operands of an asynchronous call"};
    if (!kept.view.writable && bytes > 0) std::memcpy(kept.copy.data(), kept.view.data, bytes);
    kept.view.data = kept.copy.data();
  }
  return Ok();
}

bool Arguments::Deliver() {
  for (Kept& kept : operands_) {
    if (!kept.view.writable || kept.copy.data() == nullptr) continue;
    const Napi::Value value = kept.handle.Value();
    napi_typedarray_type type;
    size_t count, offset;
    void* data;
    napi_value buffer;
    if (napi_get_typedarray_info(value.Env(), value, &type, &count, &data, &buffer, &offset) != napi_ok || count != kept.view.count)
      return false;
    if (count > 0) std::memcpy(data, kept.copy.data(), count * ElementBytes(type));
  }
  return true;
}

}  // namespace repfuse::addon
