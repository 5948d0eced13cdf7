// fuse: the argument object holds a FuseTask (repfuse/fuse.h) as plain numbers and arrays:
// {outChannels, inPerGroup, kernel, groups, arrays, factors, chains, biases, weight, bias, checkDuring, roundToOdd, stats, threads}.
// A factor names its values by index in `arrays`, so that an array that several factors share is passed, and copied, once.
#include <memory>

#include "job.h"
#include "operators.h"
#include "repfuse/checked.h"
#include "repfuse/fuse.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr size_t kMaxParts = 1 << 20;  // factors, chains or biases of one task

class FuseJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = arguments.Threads();
    task_.out_channels = arguments.Int("outChannels", 1, kMaxDim);
    task_.in_per_group = arguments.Int("inPerGroup", 1, kMaxDim);
    task_.groups = arguments.Int("groups", 1, kMaxDim);
    task_.check = arguments.Bool("checkDuring") ? FuseCheck::kDuring : FuseCheck::kBefore;
    task_.rounding = arguments.Bool("roundToOdd") ? FuseRounding::kToOdd : FuseRounding::kNearest;
    const auto kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
    task_.kernel_h = kernel[0], task_.kernel_w = kernel[1];
    ForEach("arrays", [&](Napi::Value item, Arguments&) { arrays_.push_back(arguments.Array(item, "arrays", false)); });
    ForEach("factors", [&](Napi::Value, Arguments& factor) { ReadFactor(factor); });
    ForEach("chains", [&](Napi::Value, Arguments& chain) {
      const auto origin = chain.Ints("origin", 2, 0, kMaxDim);
      task_.chains.push_back({Indices(chain), origin[0], origin[1]});
    });
    ForEach("biases", [&](Napi::Value, Arguments& bias) {
      constants_.push_back(F64(bias, "constant", -1));
      task_.biases.push_back({Indices(bias), {}, bias.Int("begin", 0, kMaxDim)});
    });
    int64_t size;
    if (!CheckedProduct({task_.out_channels, task_.in_per_group, task_.kernel_h, task_.kernel_w}, &size)) arguments.Fail("kernel");
    if (!arguments.status().ok()) return arguments.status();
    weight_ = arguments.OutF32("weight", size);
    bias_ = arguments.OutF32("bias", task_.out_channels);
    stats_ = arguments.Array(arguments.Get("stats"), "stats", true);
    if (stats_ != nullptr && (stats_->type != napi_float64_array || stats_->count != 1)) arguments.Fail("stats");
    if (!arguments.status().ok()) return arguments.status();
    Resolve();
    return CheckFuseTask(task_, &in_place_);
  }

  Status Run() override {
    Resolve();  // an asynchronous call has its own copies by now
    FuseStats stats;
    const Status status = Fuse(task_, threads_, &stats);
    static_cast<double*>(stats_->data)[0] = static_cast<double>(stats.scratch_bytes_per_thread);
    return status;
  }

  // Half a fused kernel in the place of the original would be worth nothing.
  bool cancellable() const override { return !in_place_; }

 private:
  template <typename Body>
  void ForEach(const char* name, const Body& body) {
    const Napi::Value value = arguments.Get(name);
    if (!value.IsArray() || value.As<Napi::Array>().Length() > kMaxParts) return arguments.Fail(name);
    const Napi::Array array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length() && arguments.status().ok(); ++i) {
      const Napi::Value item = array.Get(i);
      if (!item.IsObject()) return arguments.Fail(name);
      Arguments child = arguments.Child(item.As<Napi::Object>());
      body(item, child);
    }
  }

  std::vector<size_t> Indices(Arguments& part) const {
    const auto indices = part.List("factors", 0, static_cast<int64_t>(task_.factors.size()) - 1);
    return {indices.begin(), indices.end()};
  }

  // A Float64Array of `count` elements (any number if negative); null stays null.
  static const Operand* F64(Arguments& from, const char* name, int64_t count) {
    const Napi::Value value = from.Get(name);
    if (value.IsNull()) return nullptr;
    const Operand* view = from.Array(value, name, false);
    if (view != nullptr && (view->type != napi_float64_array || (count >= 0 && view->count != static_cast<size_t>(count)))) from.Fail(name);
    return view;
  }

  void ReadFactor(Arguments& from) {
    FuseFactor f;
    const auto shape = from.Ints("shape", 4, 1, kMaxDim);
    f.out_channels = shape[0], f.in_per_group = shape[1], f.kernel_h = shape[2], f.kernel_w = shape[3];
    f.groups = from.Int("groups", 1, kMaxDim);
    f.value = from.Double("value");
    f.out_begin = from.Int("outBegin", 0, kMaxDim);
    f.in_begin = from.Int("inBegin", 0, kMaxDim);
    const auto step = from.Ints("step", 2, 1, kMaxDim);
    f.step_h = step[0], f.step_w = step[1];
    const int64_t array = from.Int("array", -1, static_cast<int64_t>(arrays_.size()) - 1);
    const bool bf16 = from.Bool("bf16");
    if (array >= 0) {
      const Operand* values = arrays_[static_cast<size_t>(array)];
      int64_t size;
      if (values == nullptr || !CheckedProduct({shape[0], shape[1], shape[2], shape[3]}, &size) ||
          values->count != static_cast<size_t>(size)) {
        return from.Fail("array");
      }
      switch (values->type) {
        case napi_float32_array: f.type = FuseType::kF32; break;
        case napi_float64_array: f.type = FuseType::kF64; break;
        case napi_uint16_array: f.type = bf16 ? FuseType::kBf16 : FuseType::kF16; break;
        default: return from.Fail("array");
      }
    }
    factor_arrays_.push_back(array);
    scales_.push_back(F64(from, "scale", shape[0]));
    task_.factors.push_back(f);
  }

  void Resolve() {
    for (size_t i = 0; i < task_.factors.size(); ++i) {
      task_.factors[i].data = factor_arrays_[i] < 0 ? nullptr : arrays_[static_cast<size_t>(factor_arrays_[i])]->data;
      task_.factors[i].scale = scales_[i] == nullptr ? nullptr : static_cast<const double*>(scales_[i]->data);
    }
    for (size_t i = 0; i < task_.biases.size(); ++i) {
      if (constants_[i] != nullptr) task_.biases[i].constants = {static_cast<const double*>(constants_[i]->data), constants_[i]->count};
    }
    task_.weight = weight_->out_f32();
    task_.bias = bias_->out_f32();
  }

  FuseTask task_;
  int threads_ = 1;
  bool in_place_ = false;
  std::vector<Operand*> arrays_;
  std::vector<int64_t> factor_arrays_;
  std::vector<const Operand*> scales_, constants_;
  const Operand* weight_ = nullptr;
  const Operand* bias_ = nullptr;
  Operand* stats_ = nullptr;
};

}  // namespace

void ExportFuse(Napi::Env env, Napi::Object exports) { ExportOperator<FuseJob>(env, exports, "fuse"); }

}  // namespace repfuse::addon
