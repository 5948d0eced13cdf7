// maxPool2d and avgPool2d: {planes, inSize, kernel, stride, padding [top, left, bottom, right], dilation, outSize, input, output, threads},
// the latter also {countIncludePad, divisor}. globalAvgPool: {planes, size, input, output, threads}.
#include "repfuse/pool.h"

#include "job.h"
#include "operators.h"
#include "repfuse/checked.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

class WindowPoolJob : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
    const auto dilation = arguments.Ints("dilation", 2, 1, kMaxDim);
    const auto stride = arguments.Ints("stride", 2, 1, kMaxDim), out = arguments.Ints("outSize", 2, 1, kMaxDim);
    const auto padding = arguments.Ints("padding", 4, 0, kMaxDim);
    shape_ = {.planes = arguments.Int("planes", 1, kMaxDim),
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
    if (!arguments.status().ok()) return arguments.status();
    const Status checked = CheckPoolShape(shape_);
    if (!checked.ok()) return checked;
    input_ = arguments.F32("input", shape_.planes * shape_.height * shape_.width);
    output_ = arguments.OutF32("output", shape_.planes * shape_.out_height * shape_.out_width);
    return arguments.status();
  }

 protected:
  PoolShape shape_{};
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

class MaxPoolJob final : public WindowPoolJob {
 public:
  using WindowPoolJob::WindowPoolJob;
  Status Run() override { return MaxPool2d(shape_, input_->f32(), output_->out_f32(), threads_); }
};

class AveragePoolJob final : public WindowPoolJob {
 public:
  using WindowPoolJob::WindowPoolJob;

  Status Prepare() override {
    divisor_ = {arguments.Bool("countIncludePad"), arguments.Int("divisor", 0, kMaxDim)};
    return WindowPoolJob::Prepare();
  }
  Status Run() override { return AveragePool2d(shape_, divisor_, input_->f32(), output_->out_f32(), threads_); }

 private:
  AverageDivisor divisor_{};
};

class GlobalPoolJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    planes_ = arguments.Int("planes", 1, kMaxDim);
    size_ = arguments.Int("size", 1, kMaxDim);
    int64_t total;
    if (!CheckedProduct({planes_, size_, 4}, &total)) arguments.Fail("size");
    if (!arguments.status().ok()) return arguments.status();
    input_ = arguments.F32("input", planes_ * size_);
    output_ = arguments.OutF32("output", planes_);
    return arguments.status();
  }
  Status Run() override { return GlobalAveragePool(planes_, size_, input_->f32(), output_->out_f32(), threads_); }

 private:
  int64_t planes_ = 0, size_ = 0;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

}  // namespace

void ExportPool(Napi::Env env, Napi::Object exports) {
  ExportOperator<MaxPoolJob>(env, exports, "maxPool2d");
  ExportOperator<AveragePoolJob>(env, exports, "avgPool2d");
  ExportOperator<GlobalPoolJob>(env, exports, "globalAvgPool");
}

}  // namespace repfuse::addon
