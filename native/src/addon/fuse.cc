// fuse: {outChannels, inPerGroup, kernel, groups, chains, biases, weight, bias, threads, stats}. `stats` is a Float64Array of two that
// receives scratch bytes per thread and whether the result lies in an operand's buffer. See repfuse/fuse.h for the fields.
#include "repfuse/fuse.h"

#include "job.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 31;

class FuseJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    plan_.out_channels = arguments.Int("outChannels", 1, kMaxDim);
    plan_.in_per_group = arguments.Int("inPerGroup", 1, kMaxDim);
    plan_.groups = arguments.Int("groups", 1, kMaxDim);
    const auto kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
    plan_.kernel_h = kernel[0];
    plan_.kernel_w = kernel[1];
    ForEach(arguments, "chains", [&](Arguments& item) {
      FuseChain& chain = plan_.chains.emplace_back();
      const auto origin = item.Ints("origin", 2, 0, kMaxDim);
      chain.origin_h = origin[0];
      chain.origin_w = origin[1];
      ReadFactors(item, &chain.factors);
    });
    ForEach(arguments, "biases", [&](Arguments& item) {
      FuseBias& bias = plan_.biases.emplace_back();
      const Operand* constant = Doubles(item, "constant");
      bias.begin = item.Int("begin", 0, kMaxDim);
      bias.count = constant == nullptr ? 0 : static_cast<int64_t>(constant->count);
      constants_.push_back(constant);
      ReadFactors(item, &bias.factors);
    });
    int64_t size = 0;
    if (__builtin_mul_overflow(plan_.out_channels * plan_.in_per_group, kernel[0] * kernel[1], &size)) arguments.Fail("kernel");
    weight_ = arguments.OutF32("weight", size);
    bias_ = arguments.OutF32("bias", plan_.out_channels);
    stats_ = arguments.Array(arguments.Get("stats"), "stats", true);
    if (stats_ != nullptr && (stats_->type != napi_float64_array || stats_->count != 2)) arguments.Fail("stats");
    return arguments.status();
  }

  Status Run() override {
    // Operands have their final place only now: an asynchronous call may have copied them.
    size_t next = 0;
    for (FuseChain& chain : plan_.chains) Bind(&chain.factors, &next);
    for (size_t i = 0; i < plan_.biases.size(); ++i) {
      plan_.biases[i].constant = static_cast<const double*>(constants_[i]->data);
      Bind(&plan_.biases[i].factors, &next);
    }
    plan_.weight = weight_->out_f32();
    plan_.bias = bias_->out_f32();
    FuseStats stats;
    const Status status = Fuse(plan_, threads_, &stats);
    double* out = static_cast<double*>(stats_->data);
    out[0] = static_cast<double>(stats.scratch_bytes_per_thread);
    out[1] = stats.in_place ? 1 : 0;
    return status;
  }

  bool cancellable() const override { return false; }  // half a fused tensor is worse than none

 private:
  struct FactorOperands {
    const Operand* data;
    const Operand* scale;
  };

  template <typename Body>
  static void ForEach(Arguments& parent, const char* name, const Body& body) {
    const Napi::Value value = parent.Get(name);
    if (!value.IsArray()) return parent.Fail(name);
    const Napi::Array items = value.As<Napi::Array>();
    for (uint32_t i = 0; i < items.Length(); ++i) {
      const Napi::Value item = items.Get(i);
      if (!item.IsObject()) return parent.Fail(name);
      Arguments child = parent.Child(item.As<Napi::Object>());
      body(child);
    }
  }

  static const Operand* Doubles(Arguments& item, const char* name) {
    const Operand* view = item.Array(item.Get(name), name, false);
    if (view != nullptr && view->type != napi_float64_array) item.Fail(name);
    return view;
  }

  void ReadFactors(Arguments& item, std::vector<FuseFactor>* factors) {
    ForEach(item, "factors", [&](Arguments& from) {
      FuseFactor& f = factors->emplace_back();
      f.value = from.Double("value");
      f.out_channels = from.Int("outChannels", 1, kMaxDim);
      f.in_per_group = from.Int("inPerGroup", 1, kMaxDim);
      f.groups = from.Int("groups", 1, kMaxDim);
      const auto kernel = from.Ints("kernel", 2, 1, kMaxDim), step = from.Ints("step", 2, 1, kMaxDim);
      f.kernel_h = kernel[0];
      f.kernel_w = kernel[1];
      f.step_h = step[0];
      f.step_w = step[1];
      f.out_begin = from.Int("outBegin", 0, kMaxDim);
      f.in_begin = from.Int("inBegin", 0, kMaxDim);
      FactorOperands operands{nullptr, nullptr};
      if (!from.Get("data").IsNull()) {
        operands.data = from.Array(from.Get("data"), "data", false);
        int64_t size = 0;
        if (operands.data != nullptr) {
          f.is_f64 = operands.data->type == napi_float64_array;
          if ((!f.is_f64 && operands.data->type != napi_float32_array) ||
              __builtin_mul_overflow(f.out_channels * f.in_per_group, kernel[0] * kernel[1], &size) ||
              operands.data->count != static_cast<size_t>(size)) {
            from.Fail("data");
          }
        }
      }
      if (!from.Get("scale").IsNull()) {
        operands.scale = Doubles(from, "scale");
        if (operands.scale != nullptr && operands.scale->count != static_cast<size_t>(f.out_channels)) from.Fail("scale");
      }
      factors_.push_back(operands);
    });
  }

  void Bind(std::vector<FuseFactor>* factors, size_t* next) {
    for (FuseFactor& f : *factors) {
      const FactorOperands& operands = factors_[(*next)++];
      f.data = operands.data == nullptr ? nullptr : operands.data->data;
      f.scale = operands.scale == nullptr ? nullptr : static_cast<const double*>(operands.scale->data);
    }
  }

  int threads_ = 1;
  FusePlan plan_;
  std::vector<FactorOperands> factors_;  // in order of the chains, then the biases
  std::vector<const Operand*> constants_;
  const Operand* weight_ = nullptr;
  const Operand* bias_ = nullptr;
  Operand* stats_ = nullptr;
};

}  // namespace

void ExportFuse(Napi::Env env, Napi::Object exports) { ExportOperator<FuseJob>(env, exports, "fuse"); }

}  // namespace repfuse::addon
