// narrow: {input (Float32Array or Float64Array), output (Uint16Array), bf16, stats [overflow index or -1, values that became 0], threads}.
#include "job.h"
#include "operators.h"
#include "repfuse/narrow.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

Work PrepareNarrow(Arguments& arguments) {
  const int threads = arguments.Threads();
  const HalfType type = arguments.Bool("bf16") ? HalfType::kBf16 : HalfType::kF16;
  const Operand* input = arguments.Array(arguments.Get("input"), "input", false);
  const Operand* output = arguments.Array(arguments.Get("output"), "output", true);
  const Operand* stats = arguments.Array(arguments.Get("stats"), "stats", true);
  if (!arguments.status().ok()) return {};
  if (input->type == napi_uint16_array) arguments.Fail("input");
  if (output->type != napi_uint16_array || output->count != input->count) arguments.Fail("output");
  if (stats->type != napi_float64_array || stats->count != 2) arguments.Fail("stats");
  return [=] {
    auto* out = static_cast<uint16_t*>(output->data);
    const NarrowStats told = input->type == napi_float64_array
                                 ? Narrow(type, {static_cast<const double*>(input->data), input->count}, out, threads)
                                 : Narrow(type, input->span(), out, threads);
    static_cast<double*>(stats->data)[0] = static_cast<double>(told.overflow);
    static_cast<double*>(stats->data)[1] = static_cast<double>(told.flushed);
    return Ok();
  };
}

}  // namespace

void ExportHalf(Napi::Env env, Napi::Object exports) { ExportOperator<PrepareNarrow>(env, exports, "narrow"); }

}  // namespace repfuse::addon
