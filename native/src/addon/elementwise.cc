// relu, sigmoid, silu, hardswish: {count, input, output, threads}. add: {count, a, b, output, threads}. softmax: {outer, channels, inner,
// input, output, threads}. normalize: {batch, channels, size, input, mean, scale, shift, output, threads}. gate: {planes, size, input,
// gate, output, threads}. frame: {batch, channels, inSize, origin [top, left], outSize, input, fill, output, threads}.
#include "repfuse/elementwise.h"

#include "job.h"
#include "operators.h"
#include "repfuse/checked.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 53;

Work PrepareAdd(Arguments& arguments) {
  const int64_t count = arguments.Int("count", 0, kMaxElements);
  const int threads = arguments.Threads();
  const Operand *a = arguments.F32("a", count), *b = arguments.F32("b", count), *output = arguments.OutF32("output", count);
  return [=] {
    Add(a->span(), b->span(), output->out_f32(), threads);
    return Ok();
  };
}

template <void (*kActivate)(std::span<const float> x, float* y, int threads)>
Work PrepareActivation(Arguments& arguments) {
  const int64_t count = arguments.Int("count", 0, kMaxElements);
  const int threads = arguments.Threads();
  const Operand *input = arguments.F32("input", count), *output = arguments.OutF32("output", count);
  return [=] {
    kActivate(input->span(), output->out_f32(), threads);
    return Ok();
  };
}

// What the operators on [outer, middle, inner] share: sizes, input and output of equal length.
struct Planes {
  int threads;
  int64_t outer, middle, inner;
  const Operand* input = nullptr;
  const Operand* output = nullptr;

  Planes(Arguments& arguments, const char* outer_name, const char* middle_name, const char* inner_name)
      : threads(arguments.Threads()),
        outer(arguments.Int(outer_name, 1, kMaxDim)),
        middle(middle_name == nullptr ? 1 : arguments.Int(middle_name, 1, kMaxDim)),
        inner(arguments.Int(inner_name, 1, kMaxDim)) {
    int64_t size = 0;
    if (!CheckedProduct({outer, middle, inner, 4}, &size)) arguments.Fail(inner_name);
    input = arguments.F32("input", size / 4);
    output = arguments.OutF32("output", size / 4);
  }
};

Work PrepareSoftmax(Arguments& arguments) {
  const Planes planes(arguments, "outer", "channels", "inner");
  return [=] {
    Softmax(planes.outer, planes.middle, planes.inner, planes.input->f32(), planes.output->out_f32(), planes.threads);
    return Ok();
  };
}

Work PrepareNormalize(Arguments& arguments) {
  const Planes planes(arguments, "batch", "channels", "size");
  const auto doubles = [&](const char* name) {
    const Operand* view = arguments.Array(arguments.Get(name), name, false);
    if (view != nullptr && (view->type != napi_float64_array || view->count != static_cast<size_t>(planes.middle))) arguments.Fail(name);
    return view;
  };
  const Operand *mean = doubles("mean"), *scale = doubles("scale"), *shift = doubles("shift");
  return [=] {
    const auto values = [](const Operand* operand) { return static_cast<const double*>(operand->data); };
    NormalizeChannels(planes.outer, planes.middle, planes.inner, planes.input->f32(), values(mean), values(scale), values(shift),
                      planes.output->out_f32(), planes.threads);
    return Ok();
  };
}

Work PrepareGate(Arguments& arguments) {
  const Planes planes(arguments, "planes", nullptr, "size");
  const Operand* gate = arguments.F32("gate", planes.outer);
  return [=] {
    GateChannels(planes.outer, planes.inner, planes.input->f32(), gate->f32(), planes.output->out_f32(), planes.threads);
    return Ok();
  };
}

Work PrepareFrame(Arguments& arguments) {
  const int threads = arguments.Threads();
  const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), out = arguments.Ints("outSize", 2, 1, kMaxDim);
  const auto origin = arguments.Ints("origin", 2, -kMaxDim, kMaxDim);
  const FrameShape shape{.batch = arguments.Int("batch", 1, kMaxDim),
                         .channels = arguments.Int("channels", 1, kMaxDim),
                         .height = size[0],
                         .width = size[1],
                         .top = origin[0],
                         .left = origin[1],
                         .out_height = out[0],
                         .out_width = out[1]};
  int64_t total;
  if (!CheckedProduct({shape.batch, shape.channels, size[0], size[1], 4}, &total) ||
      !CheckedProduct({shape.batch, shape.channels, out[0], out[1], 4}, &total))
    arguments.Fail("outSize");
  if (!arguments.status().ok()) return {};
  const Operand* input = arguments.F32("input", shape.batch * shape.channels * size[0] * size[1]);
  const Operand* fill = arguments.F32("fill", shape.channels);
  const Operand* output = arguments.OutF32("output", shape.batch * shape.channels * out[0] * out[1]);
  return [=] {
    Frame(shape, input->f32(), fill->f32(), output->out_f32(), threads);
    return Ok();
  };
}

}  // namespace

void ExportElementwise(Napi::Env env, Napi::Object exports) {
  ExportOperator<PrepareActivation<Relu>>(env, exports, "relu");
  ExportOperator<PrepareAdd>(env, exports, "add");
  ExportOperator<PrepareActivation<Sigmoid>>(env, exports, "sigmoid");
  ExportOperator<PrepareActivation<Silu>>(env, exports, "silu");
  ExportOperator<PrepareActivation<Hardswish>>(env, exports, "hardswish");
  ExportOperator<PrepareSoftmax>(env, exports, "softmax");
  ExportOperator<PrepareNormalize>(env, exports, "normalize");
  ExportOperator<PrepareGate>(env, exports, "gate");
  ExportOperator<PrepareFrame>(env, exports, "frame");
}

}  // namespace repfuse::addon
