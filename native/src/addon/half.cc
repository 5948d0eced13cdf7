// narrow: {input (Float32Array or Float64Array), output (Uint16Array), bf16, stats [overflow index or -1, values that became 0], threads}.
#include "job.h"
#include "operators.h"
#include "repfuse/narrow.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

class NarrowJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    type_ = arguments.Bool("bf16") ? HalfType::kBf16 : HalfType::kF16;
    input_ = arguments.Array(arguments.Get("input"), "input", false);
    output_ = arguments.Array(arguments.Get("output"), "output", true);
    stats_ = arguments.Array(arguments.Get("stats"), "stats", true);
    if (!arguments.status().ok()) return arguments.status();
    if (input_->type == napi_uint16_array) arguments.Fail("input");
    if (output_->type != napi_uint16_array || output_->count != input_->count) arguments.Fail("output");
    if (stats_->type != napi_float64_array || stats_->count != 2) arguments.Fail("stats");
    return arguments.status();
  }

  Status Run() override {
    auto* out = static_cast<uint16_t*>(output_->data);
    const NarrowStats stats = input_->type == napi_float64_array
                                  ? Narrow(type_, {static_cast<const double*>(input_->data), input_->count}, out, threads_)
                                  : Narrow(type_, {input_->f32(), input_->count}, out, threads_);
    static_cast<double*>(stats_->data)[0] = static_cast<double>(stats.overflow);
    static_cast<double*>(stats_->data)[1] = static_cast<double>(stats.flushed);
    return Ok();
  }

 private:
  int threads_ = 1;
  HalfType type_ = HalfType::kF16;
  Operand* input_ = nullptr;
  Operand* output_ = nullptr;
  Operand* stats_ = nullptr;
};

}  // namespace

void ExportHalf(Napi::Env env, Napi::Object exports) { ExportOperator<NarrowJob>(env, exports, "narrow"); }

}  // namespace repfuse::addon
