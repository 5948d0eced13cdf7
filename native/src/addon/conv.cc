// conv2d: {batch, inChannels, inSize, outChannels, kernel, stride, padding [top, left, bottom, right], dilation, groups, relu, input,
// weight, bias | null, output, threads}. linear: {rows, inFeatures, outFeatures, input, weight, bias | null, output, threads}.
#include "repfuse/conv.h"
#include "repfuse/linear.h"

#include "job.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

Work PrepareConv2d(Arguments& arguments) {
  const int threads = arguments.Threads();
  const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
  const auto stride = arguments.Ints("stride", 2, 1, kMaxDim), dilation = arguments.Ints("dilation", 2, 1, kMaxDim);
  const auto padding = arguments.Ints("padding", 4, -kMaxDim, kMaxDim);
  const ConvShape shape{.batch = arguments.Int("batch", 1, kMaxDim),
                        .in_channels = arguments.Int("inChannels", 1, kMaxDim),
                        .height = size[0],
                        .width = size[1],
                        .out_channels = arguments.Int("outChannels", 1, kMaxDim),
                        .kernel_h = kernel[0],
                        .kernel_w = kernel[1],
                        .stride_h = stride[0],
                        .stride_w = stride[1],
                        .pad_top = padding[0],
                        .pad_left = padding[1],
                        .pad_bottom = padding[2],
                        .pad_right = padding[3],
                        .dilation_h = dilation[0],
                        .dilation_w = dilation[1],
                        .groups = arguments.Int("groups", 1, kMaxDim)};
  const bool relu = arguments.Bool("relu");
  if (!arguments.status().ok() || !arguments.Expect(CheckConvShape(shape))) return {};
  const Operand* input = arguments.F32("input", shape.batch * shape.in_channels * shape.height * shape.width);
  const Operand* weight =
      arguments.F32("weight", shape.out_channels * (shape.in_channels / shape.groups) * shape.kernel_h * shape.kernel_w);
  const Operand* bias = arguments.OptionalF32("bias", shape.out_channels);
  const Operand* output = arguments.OutF32("output", shape.batch * shape.out_channels * shape.out_height() * shape.out_width());
  return
      [=] { return Conv2d(shape, input->f32(), weight->f32(), bias == nullptr ? nullptr : bias->f32(), relu, output->out_f32(), threads); };
}

Work PrepareLinear(Arguments& arguments) {
  const int threads = arguments.Threads();
  const LinearShape shape{.rows = arguments.Int("rows", 0, kMaxDim),
                          .in_features = arguments.Int("inFeatures", 1, kMaxDim),
                          .out_features = arguments.Int("outFeatures", 1, kMaxDim)};
  if (!arguments.status().ok() || !arguments.Expect(CheckLinearShape(shape))) return {};
  const Operand* input = arguments.F32("input", shape.rows * shape.in_features);
  const Operand* weight = arguments.F32("weight", shape.out_features * shape.in_features);
  const Operand* bias = arguments.OptionalF32("bias", shape.out_features);
  const Operand* output = arguments.OutF32("output", shape.rows * shape.out_features);
  return [=] {
    return Linear(shape, input->f32(), weight->f32(), bias == nullptr ? nullptr : bias->f32(), false, output->out_f32(), threads);
  };
}

}  // namespace

void ExportConv(Napi::Env env, Napi::Object exports) {
  ExportOperator<PrepareConv2d>(env, exports, "conv2d");
  ExportOperator<PrepareLinear>(env, exports, "linear");
}

}  // namespace repfuse::addon
