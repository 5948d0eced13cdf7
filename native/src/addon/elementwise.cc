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

class AddJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    const int64_t count = arguments.Int("count", 0, kMaxElements);
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    a_ = arguments.F32("a", count);
    b_ = arguments.F32("b", count);
    output_ = arguments.OutF32("output", count);
    return arguments.status();
  }

  Status Run() override {
    Add({a_->f32(), a_->count}, {b_->f32(), b_->count}, output_->out_f32(), threads_);
    return Ok();
  }

 private:
  int threads_ = 1;
  const Operand* a_ = nullptr;
  const Operand* b_ = nullptr;
  const Operand* output_ = nullptr;
};

template <void (*kActivate)(std::span<const float> x, float* y, int threads)>
class ActivationJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    count_ = arguments.Int("count", 0, kMaxElements);
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    input_ = arguments.F32("input", count_);
    output_ = arguments.OutF32("output", count_);
    return arguments.status();
  }
  Status Run() override {
    kActivate(input_->span(), output_->out_f32(), threads_);
    return Ok();
  }

 private:
  int64_t count_ = 0;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

// What the operators on [outer, middle, inner] share: sizes, input and output of equal length.
class PlanesJob : public Job {
 public:
  using Job::Job;

 protected:
  void ReadSizes(const char* outer, const char* middle, const char* inner) {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    outer_ = arguments.Int(outer, 1, kMaxDim);
    middle_ = middle == nullptr ? 1 : arguments.Int(middle, 1, kMaxDim);
    inner_ = arguments.Int(inner, 1, kMaxDim);
    int64_t size = 0;
    if (!CheckedProduct({outer_, middle_, inner_, 4}, &size)) return arguments.Fail(inner);
    input_ = arguments.F32("input", size / 4);
    output_ = arguments.OutF32("output", size / 4);
  }

  int64_t outer_ = 0, middle_ = 0, inner_ = 0;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

class SoftmaxJob final : public PlanesJob {
 public:
  using PlanesJob::PlanesJob;
  Status Prepare() override {
    ReadSizes("outer", "channels", "inner");
    return arguments.status();
  }
  Status Run() override {
    Softmax(outer_, middle_, inner_, input_->f32(), output_->out_f32(), threads_);
    return Ok();
  }
};

class NormalizeJob final : public PlanesJob {
 public:
  using PlanesJob::PlanesJob;
  Status Prepare() override {
    ReadSizes("batch", "channels", "size");
    mean_ = Doubles("mean");
    scale_ = Doubles("scale");
    shift_ = Doubles("shift");
    return arguments.status();
  }
  Status Run() override {
    const auto values = [](const Operand* operand) { return static_cast<const double*>(operand->data); };
    NormalizeChannels(outer_, middle_, inner_, input_->f32(), values(mean_), values(scale_), values(shift_), output_->out_f32(), threads_);
    return Ok();
  }

 private:
  const Operand* Doubles(const char* name) {
    const Operand* view = arguments.Array(arguments.Get(name), name, false);
    if (view != nullptr && (view->type != napi_float64_array || view->count != static_cast<size_t>(middle_))) arguments.Fail(name);
    return view;
  }

  const Operand* mean_ = nullptr;
  const Operand* scale_ = nullptr;
  const Operand* shift_ = nullptr;
};

class GateJob final : public PlanesJob {
 public:
  using PlanesJob::PlanesJob;
  Status Prepare() override {
    ReadSizes("planes", nullptr, "size");
    gate_ = arguments.F32("gate", outer_);
    return arguments.status();
  }
  Status Run() override {
    GateChannels(outer_, inner_, input_->f32(), gate_->f32(), output_->out_f32(), threads_);
    return Ok();
  }

 private:
  const Operand* gate_ = nullptr;
};

class FrameJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    const auto size = arguments.Ints("inSize", 2, 1, kMaxDim), out = arguments.Ints("outSize", 2, 1, kMaxDim);
    const auto origin = arguments.Ints("origin", 2, -kMaxDim, kMaxDim);
    shape_ = {.batch = arguments.Int("batch", 1, kMaxDim),
              .channels = arguments.Int("channels", 1, kMaxDim),
              .height = size[0],
              .width = size[1],
              .top = origin[0],
              .left = origin[1],
              .out_height = out[0],
              .out_width = out[1]};
    int64_t total;
    if (!CheckedProduct({shape_.batch, shape_.channels, size[0], size[1], 4}, &total) ||
        !CheckedProduct({shape_.batch, shape_.channels, out[0], out[1], 4}, &total)) {
      arguments.Fail("outSize");
    }
    if (!arguments.status().ok()) return arguments.status();
    input_ = arguments.F32("input", shape_.batch * shape_.channels * size[0] * size[1]);
    fill_ = arguments.F32("fill", shape_.channels);
    output_ = arguments.OutF32("output", shape_.batch * shape_.channels * out[0] * out[1]);
    return arguments.status();
  }
  Status Run() override {
    Frame(shape_, input_->f32(), fill_->f32(), output_->out_f32(), threads_);
    return Ok();
  }

 private:
  FrameShape shape_{};
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* fill_ = nullptr;
  const Operand* output_ = nullptr;
};

}  // namespace

void ExportElementwise(Napi::Env env, Napi::Object exports) {
  ExportOperator<ActivationJob<Relu>>(env, exports, "relu");
  ExportOperator<AddJob>(env, exports, "add");
  ExportOperator<ActivationJob<Sigmoid>>(env, exports, "sigmoid");
  ExportOperator<ActivationJob<Silu>>(env, exports, "silu");
  ExportOperator<ActivationJob<Hardswish>>(env, exports, "hardswish");
  ExportOperator<SoftmaxJob>(env, exports, "softmax");
  ExportOperator<NormalizeJob>(env, exports, "normalize");
  ExportOperator<GateJob>(env, exports, "gate");
  ExportOperator<FrameJob>(env, exports, "frame");
}

}  // namespace repfuse::addon
