// maxPool2d and avgPool2d: {planes, inSize, kernel, stride, padding [top, left, bottom, right], dilation, outSize, input, output, threads},
// the latter also {countIncludePad, divisor}. globalAvgPool: {planes, size, input, output, threads}.
#include "repfuse/pool.h"

#include "job.h"
#include "operators.h"
#include "repfuse/checked.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

// What both poolings over windows share.
struct WindowPool {
  int threads;
  PoolShape shape{};
  const Operand* input = nullptr;
  const Operand* output = nullptr;

  explicit WindowPool(Arguments& arguments) : threads(arguments.Threads()) {
    const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
    const auto dilation = arguments.Ints("dilation", 2, 1, kMaxDim);
    const auto stride = arguments.Ints("stride", 2, 1, kMaxDim), out = arguments.Ints("outSize", 2, 1, kMaxDim);
    const auto padding = arguments.Ints("padding", 4, 0, kMaxDim);
    shape = {.planes = arguments.Int("planes", 1, kMaxDim),
             .height = size[0],
             .width = size[1],
             .kernel_h = kernel[0],
             .kernel_w = kernel[1],
             .stride_h = stride[0],
             .stride_w = stride[1],
             .dilation_h = dilation[0],
             .dilation_w = dilation[1],
             .pad_top = padding[0],
             .pad_left = padding[1],
             .pad_bottom = padding[2],
             .pad_right = padding[3],
             .out_height = out[0],
             .out_width = out[1]};
    if (!arguments.status().ok() || !arguments.Expect(CheckPoolShape(shape))) return;
    input = arguments.F32("input", shape.planes * shape.height * shape.width);
    output = arguments.OutF32("output", shape.planes * shape.out_height * shape.out_width);
  }
};

Work PrepareMaxPool(Arguments& arguments) {
  const WindowPool pool(arguments);
  return [=] { return MaxPool2d(pool.shape, pool.input->f32(), pool.output->out_f32(), pool.threads); };
}

Work PrepareAveragePool(Arguments& arguments) {
  const AverageDivisor divisor{arguments.Bool("countIncludePad"), arguments.Int("divisor", 0, kMaxDim)};
  const WindowPool pool(arguments);
  return [=] { return AveragePool2d(pool.shape, divisor, pool.input->f32(), pool.output->out_f32(), pool.threads); };
}

Work PrepareGlobalPool(Arguments& arguments) {
  const int threads = arguments.Threads();
  const int64_t planes = arguments.Int("planes", 1, kMaxDim), size = arguments.Int("size", 1, kMaxDim);
  int64_t total;
  if (!CheckedProduct({planes, size, 4}, &total)) arguments.Fail("size");
  if (!arguments.status().ok()) return {};
  const Operand *input = arguments.F32("input", planes * size), *output = arguments.OutF32("output", planes);
  return [=] { return GlobalAveragePool(planes, size, input->f32(), output->out_f32(), threads); };
}

}  // namespace

void ExportPool(Napi::Env env, Napi::Object exports) {
  ExportOperator<PrepareMaxPool>(env, exports, "maxPool2d");
  ExportOperator<PrepareAveragePool>(env, exports, "avgPool2d");
  ExportOperator<PrepareGlobalPool>(env, exports, "globalAvgPool");
}

}  // namespace repfuse::addon
