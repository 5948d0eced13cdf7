// The machine's limits, for benchmarks. fmaProbe: {rounds, threads, flops: Float64Array(1)}. copyProbe: {count, input, output, threads}.
#include <cstring>

#include "job.h"
#include "operators.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

class FmaProbeJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    rounds_ = arguments.Int("rounds", 1, int64_t{1} << 40);
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    flops_ = arguments.Array(arguments.Get("flops"), "flops", true);
    if (flops_ != nullptr && (flops_->type != napi_float64_array || flops_->count != 1)) arguments.Fail("flops");
    return arguments.status();
  }
  Status Run() override {
    double flops[kMaxThreads] = {};
    ParallelFor(threads_, threads_, [&](int64_t i, int) {
      float sink;
      flops[i] = Kernels().fma_probe(rounds_, &sink);
    });
    double* total = static_cast<double*>(flops_->data);
    *total = 0;
    for (int i = 0; i < threads_; ++i) *total += flops[i];
    return Ok();
  }

 private:
  int64_t rounds_ = 1;
  int threads_ = 1;
  Operand* flops_ = nullptr;
};

class CopyProbeJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    count_ = arguments.Int("count", 0, int64_t{1} << 53);
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    input_ = arguments.F32("input", count_);
    output_ = arguments.OutF32("output", count_);
    return arguments.status();
  }
  Status Run() override {
    const int64_t share = (count_ + threads_ - 1) / threads_;
    ParallelFor(threads_, threads_, [&](int64_t i, int) {
      const int64_t begin = std::min(count_, i * share), size = std::min(share, count_ - begin);
      std::memcpy(output_->out_f32() + begin, input_->f32() + begin, static_cast<size_t>(size) * sizeof(float));
    });
    return Ok();
  }

 private:
  int64_t count_ = 0;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

}  // namespace

void ExportProbes(Napi::Env env, Napi::Object exports) {
  ExportOperator<FmaProbeJob>(env, exports, "fmaProbe");
  ExportOperator<CopyProbeJob>(env, exports, "copyProbe");
}

}  // namespace repfuse::addon
