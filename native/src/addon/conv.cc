// conv2d: {batch, inChannels, inSize, outChannels, kernel, stride, padding [top, left, bottom, right], dilation, groups, relu, input,
// weight, bias | null, output, threads}. linear: {rows, inFeatures, outFeatures, input, weight, bias | null, output, threads}.
#include "repfuse/conv.h"
#include "repfuse/linear.h"

#include "job.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

class Conv2dJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), kernel = arguments.Ints("kernel", 2, 1, kMaxDim);
    const auto stride = arguments.Ints("stride", 2, 1, kMaxDim), dilation = arguments.Ints("dilation", 2, 1, kMaxDim);
    const auto padding = arguments.Ints("padding", 4, -kMaxDim, kMaxDim);
    shape_ = {.batch = arguments.Int("batch", 1, kMaxDim),
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
    relu_ = arguments.Bool("relu");
    if (!arguments.status().ok()) return arguments.status();
    const Status checked = CheckConvShape(shape_);
    if (!checked.ok()) return checked;
    input_ = arguments.F32("input", shape_.batch * shape_.in_channels * shape_.height * shape_.width);
    weight_ = arguments.F32("weight", shape_.out_channels * (shape_.in_channels / shape_.groups) * shape_.kernel_h * shape_.kernel_w);
    bias_ = arguments.OptionalF32("bias", shape_.out_channels);
    output_ = arguments.OutF32("output", shape_.batch * shape_.out_channels * shape_.out_height() * shape_.out_width());
    return arguments.status();
  }

  Status Run() override {
    return Conv2d(shape_, input_->f32(), weight_->f32(), bias_ == nullptr ? nullptr : bias_->f32(), relu_, output_->out_f32(), threads_);
  }

 private:
  ConvShape shape_{};
  bool relu_ = false;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* weight_ = nullptr;
  const Operand* bias_ = nullptr;
  const Operand* output_ = nullptr;
};

class LinearJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    shape_ = {.rows = arguments.Int("rows", 0, kMaxDim),
              .in_features = arguments.Int("inFeatures", 1, kMaxDim),
              .out_features = arguments.Int("outFeatures", 1, kMaxDim)};
    if (!arguments.status().ok()) return arguments.status();
    const Status checked = CheckLinearShape(shape_);
    if (!checked.ok()) return checked;
    input_ = arguments.F32("input", shape_.rows * shape_.in_features);
    weight_ = arguments.F32("weight", shape_.out_features * shape_.in_features);
    bias_ = arguments.OptionalF32("bias", shape_.out_features);
    output_ = arguments.OutF32("output", shape_.rows * shape_.out_features);
    return arguments.status();
  }

  Status Run() override {
    return Linear(shape_, input_->f32(), weight_->f32(), bias_ == nullptr ? nullptr : bias_->f32(), false, output_->out_f32(), threads_);
  }

 private:
  LinearShape shape_{};
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* weight_ = nullptr;
  const Operand* bias_ = nullptr;
  const Operand* output_ = nullptr;
};

}  // namespace

void ExportConv(Napi::Env env, Napi::Object exports) {
  ExportOperator<Conv2dJob>(env, exports, "conv2d");
  ExportOperator<LinearJob>(env, exports, "linear");
}

}  // namespace repfuse::addon
