// The machine's limits, for benchmarks. fmaProbe: {rounds, threads, flops: Float64Array(1)}. copyProbe: {count, input, output, threads}.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "job.h"
#include "operators.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

Work PrepareFmaProbe(Arguments& arguments) {
  const int64_t rounds = arguments.Int("rounds", 1, int64_t{1} << 40);
  const int threads = arguments.Threads();
  const Operand* flops = arguments.Array(arguments.Get("flops"), "flops", true);
  if (flops != nullptr && (flops->type != napi_float64_array || flops->count != 1)) arguments.Fail("flops");
  return [=] {
    double of_thread[kMaxThreads] = {};
    ParallelFor(threads, threads, [&](int64_t i, int) {
      float sink;
      of_thread[i] = Kernels().fma_probe(rounds, &sink);
    });
    *static_cast<double*>(flops->data) = std::accumulate(of_thread, of_thread + threads, 0.0);
    return Ok();
  };
}

Work PrepareCopyProbe(Arguments& arguments) {
  const int64_t count = arguments.Int("count", 0, int64_t{1} << 53);
  const int threads = arguments.Threads();
  const Operand *input = arguments.F32("input", count), *output = arguments.OutF32("output", count);
  return [=] {
    const int64_t share = (count + threads - 1) / threads;
    ParallelFor(threads, threads, [&](int64_t i, int) {
      const int64_t begin = std::min(count, i * share), size = std::min(share, count - begin);
      std::memcpy(output->out_f32() + begin, input->f32() + begin, static_cast<size_t>(size) * sizeof(float));
    });
    return Ok();
  };
}

}  // namespace

void ExportProbes(Napi::Env env, Napi::Object exports) {
  ExportOperator<PrepareFmaProbe>(env, exports, "fmaProbe");
  ExportOperator<PrepareCopyProbe>(env, exports, "copyProbe");
}

}  // namespace repfuse::addon
