// Reads the one argument object of an exported function into plain C++ values and views, so that an operator never
// sees a JavaScript value. Meaning is checked in TypeScript; here only what memory safety needs: types, lengths, overlap.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "repfuse/aligned_buffer.h"
#include "repfuse/status.h"

namespace repfuse::addon {

// The largest number that JavaScript may give for a size, a stride or a padding.
inline constexpr int64_t kMaxDim = int64_t{1} << 31;

// A typed array as an operator sees it. `data` is V8's memory in a synchronous call, a private copy in an asynchronous
// one: JavaScript may detach or resize its buffer while a worker reads.
struct Operand {
  void* data = nullptr;
  size_t count = 0;  // elements
  napi_typedarray_type type = napi_float32_array;
  bool writable = false;
  bool owned = false;  // the caller has it for this call alone: used where it lies in an asynchronous one too

  const float* f32() const { return static_cast<const float*>(data); }
  float* out_f32() const { return static_cast<float*>(data); }
  std::span<const float> span() const { return {f32(), count}; }
  std::span<float> out_span() const { return {out_f32(), count}; }
};

class Arguments {
 public:
  explicit Arguments(Napi::Object object) : object_(object) {}

  int64_t Int(const char* name, int64_t low, int64_t high);
  int Threads();
  double Double(const char* name);
  // A number that float32 can hold: infinities and NaN, or within its range.
  float Float(const char* name);
  std::string String(const char* name);
  bool Bool(const char* name);
  // Exactly `count` integers in [low, high].
  std::vector<int64_t> Ints(const char* name, size_t count, int64_t low, int64_t high);
  // Integers in [low, high], as many as the caller gives: a list is read whole or refused.
  std::vector<int64_t> List(const char* name, int64_t low, int64_t high);
  // A Float32Array of exactly `count` elements; null is allowed for the optional one.
  Operand* F32(const char* name, int64_t count);
  const Operand* OptionalF32(const char* name, int64_t count);
  Operand* OutF32(const char* name, int64_t count);
  // A floating-point typed array of any length (Float32Array, Float64Array, Uint16Array), registered like the others.
  Operand* Array(Napi::Value value, const char* name, bool writable);
  // Nested argument objects.
  Napi::Value Get(const char* name) { return object_.Get(name); }
  Arguments Child(Napi::Object object) { return {object, *this}; }

  // The first thing that was wrong.
  const Status& status() const { return root_->status_; }
  void Fail(const char* name);
  // Whether all is well, that status included.
  bool Expect(const Status& status);

  // For an asynchronous run: copies inputs, gives outputs memory of their own, and holds on to the JavaScript arrays.
  // With `borrow` the arrays are used where they lie: the caller has promised to leave them alone.
  Status Keep(bool borrow);
  // On the JavaScript thread, after the run: fills the caller's output arrays; false if one was detached meanwhile.
  bool Deliver();

  Arguments(Arguments&&) = delete;

 private:
  Arguments(Napi::Object object, Arguments& parent) : object_(object), root_(parent.root_) {}

  struct Kept {
    Operand view;
    Napi::TypedArray array;               // valid during the call that made it
    Napi::Reference<Napi::Value> handle;  // set by Keep
    AlignedBuffer copy;
  };

  Napi::Object object_;
  Arguments* root_ = this;
  Status status_;
  std::deque<Kept> operands_;  // a deque: operators hold pointers into it
};

}  // namespace repfuse::addon
