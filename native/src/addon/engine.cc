// engineBuilder(inChannels) -> handle. engineAdd(handle, {kind, name, inputs, activation, weight | null, bias | null, outChannels, groups,
// kernel, stride, padding [top, left, bottom, right], dilation, ceilMode, countIncludePad}) -> status | null. engineBuild(handle,
// {output, algorithm, precision, batchInvariant, plans}) -> status | null. Then enginePrepare, engineRun {engine, shape, input, output,
// ownsInput, ownsOutput, threads}, each with its asynchronous twin; engineExplain({engine, shape, threads}) -> steps | status; engineMemory(handle);
// engineDispose(handle): runs under way keep the engine until they end.
#include "repfuse/engine.h"

#include <array>
#include <cstring>

#include "job.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 31;
constexpr std::array kKinds = {"conv", "maxPool", "averagePool", "globalAveragePool", "linear", "activation", "add", "gate", "softmax", "flatten", "frame"};
constexpr std::array kActivations = {"relu", "sigmoid", "silu", "hardswish"};
constexpr std::array kAlgorithms = {"auto", "direct", "winograd2", "winograd4", "products", "float64"};
constexpr std::array kPrecisions = {"f32", "fast", "bf16"};

struct Handle {
  Network network;  // until it is built
  std::shared_ptr<Engine> engine;
};

Handle* HandleOf(const Napi::Value& value) { return value.IsExternal() ? value.As<Napi::External<Handle>>().Data() : nullptr; }

std::shared_ptr<Engine> EngineOf(const Napi::Value& value) {
  Handle* handle = HandleOf(value);
  return handle == nullptr ? nullptr : handle->engine;
}

template <size_t kCount>
int IndexOf(const std::array<const char*, kCount>& names, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
  for (size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<int>(i);
  }
  return -1;
}

Status Copy(Arguments& arguments, const char* name, AlignedBuffer* out) {
  const Napi::Value value = arguments.Get(name);
  if (value.IsNull() || value.IsUndefined()) return Ok();
  const Operand* view = arguments.Array(value, name, false);
  if (view == nullptr || view->type != napi_float32_array || view->count == 0) return {Code::kInvalidArgument, name};
  if (!out->Allocate(view->count * sizeof(float))) return {Code::kOutOfMemory, name};
  std::memcpy(out->data(), view->data, view->count * sizeof(float));
  return Ok();
}

ImageShape ImageShapeOf(const std::vector<int64_t>& dims) { return {dims[0], dims[1], dims[2], dims[3]}; }

Napi::Value Builder(const Napi::CallbackInfo& info) {
  auto* handle = new Handle;
  handle->network.in_channels = info[0].ToNumber().Int64Value();
  return Napi::External<Handle>::New(info.Env(), handle, [](Napi::Env, Handle* data) { delete data; });
}

Status AddNode(Handle* handle, Napi::Object object) {
  if (handle == nullptr || handle->engine != nullptr) return {Code::kInvalidArgument, "the builder"};
  Arguments arguments(object);
  NetworkNode node;
  const int kind = IndexOf(kKinds, arguments.Get("kind")), activation = IndexOf(kActivations, arguments.Get("activation"));
  if (kind < 0) return {Code::kInvalidArgument, "kind"};
  node.kind = static_cast<NodeKind>(kind);
  node.name = arguments.Get("name").ToString().Utf8Value();
  if (activation >= 0) node.activation = static_cast<Activation>(activation);
  for (const int64_t input : arguments.Shape("inputs")) node.inputs.push_back(static_cast<int>(input));
  const auto kernel = arguments.Ints("kernel", 2, 1, kMaxDim), stride = arguments.Ints("stride", 2, 1, kMaxDim);
  const auto dilation = arguments.Ints("dilation", 2, 1, kMaxDim), padding = arguments.Ints("padding", 4, -kMaxDim, kMaxDim);
  node.kernel_h = kernel[0];
  node.kernel_w = kernel[1];
  node.stride_h = stride[0];
  node.stride_w = stride[1];
  node.dilation_h = dilation[0];
  node.dilation_w = dilation[1];
  node.pad_top = padding[0];
  node.pad_left = padding[1];
  node.pad_bottom = padding[2];
  node.pad_right = padding[3];
  node.out_channels = arguments.Int("outChannels", 0, kMaxDim);
  node.groups = arguments.Int("groups", 1, kMaxDim);
  node.ceil_mode = arguments.Bool("ceilMode");
  node.count_include_pad = arguments.Bool("countIncludePad");
  if (!arguments.status().ok()) return arguments.status();
  if (node.kind == NodeKind::kActivation && !node.activation) return {Code::kInvalidArgument, "activation"};
  for (const auto& [name, buffer] : {std::pair{"weight", &node.weight}, std::pair{"bias", &node.bias}}) {
    const Status copied = Copy(arguments, name, buffer);
    if (!copied.ok()) return copied;
  }
  handle->network.nodes.push_back(std::move(node));
  return Ok();
}

Status Build(Handle* handle, Napi::Object object) {
  if (handle == nullptr || handle->engine != nullptr) return {Code::kInvalidArgument, "the builder"};
  Arguments arguments(object);
  EngineOptions options;
  const int algorithm = IndexOf(kAlgorithms, arguments.Get("algorithm")), precision = IndexOf(kPrecisions, arguments.Get("precision"));
  if (algorithm < 0) return {Code::kInvalidArgument, "algorithm"};
  if (precision < 0) return {Code::kInvalidArgument, "precision"};
  options.algorithm = static_cast<Algorithm>(algorithm);
  options.precision = static_cast<Precision>(precision);
  options.batch_invariant = arguments.Bool("batchInvariant");
  options.plans = static_cast<int>(arguments.Int("plans", 1, 1 << 20));
  handle->network.output = static_cast<int>(arguments.Int("output", 0, kMaxDim));
  if (!arguments.status().ok()) return arguments.status();
  return Engine::Create(std::move(handle->network), options, &handle->engine);
}

// What preparing and running have in common: {engine, shape, threads}.
class EngineJob : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    shape_ = ImageShapeOf(arguments.Ints("shape", 4, 1, kMaxDim));
    engine_ = EngineOf(arguments.Get("engine"));
    if (engine_ == nullptr) arguments.Fail("engine");
    return arguments.status();
  }

 protected:
  std::shared_ptr<Engine> engine_;
  ImageShape shape_{};
  int threads_ = 1;
};

class EnginePrepareJob final : public EngineJob {
 public:
  using EngineJob::EngineJob;
  Status Run() override { return engine_->Prepare(shape_, threads_); }
};

class EngineRunJob final : public EngineJob {
 public:
  using EngineJob::EngineJob;

  Status Prepare() override {
    const Status prepared = EngineJob::Prepare();
    if (!prepared.ok()) return prepared;
    ImageShape output;
    const Status inferred = engine_->OutputShape(shape_, &output);
    if (!inferred.ok()) return inferred;
    input_ = arguments.F32("input", shape_.batch * shape_.channels * shape_.height * shape_.width);
    output_ = arguments.OutF32("output", output.batch * output.channels * output.height * output.width);
    const bool owns_input = arguments.Bool("ownsInput"), owns_output = arguments.Bool("ownsOutput");
    if (!arguments.status().ok()) return arguments.status();
    input_->owned = owns_input;
    output_->owned = owns_output;
    return Ok();
  }
  Status Run() override { return engine_->Run(shape_, input_->f32(), output_->out_f32(), threads_); }

 private:
  Operand* input_ = nullptr;
  Operand* output_ = nullptr;
};

Napi::Array ShapeToJs(Napi::Env env, const ImageShape& shape) {
  Napi::Array dims = Napi::Array::New(env, 4);
  uint32_t i = 0;
  for (const int64_t dim : {shape.batch, shape.channels, shape.height, shape.width}) dims.Set(i++, static_cast<double>(dim));
  return dims;
}

// {engine, shape, threads} of a call that answers at once.
Napi::Value WithEngine(const Napi::CallbackInfo& info, const std::function<Status(Engine&, const ImageShape&, int, Napi::Value*)>& body) {
  Napi::Value answer;
  const Status status = Guarded([&]() -> Status {
    Arguments arguments(info[0].As<Napi::Object>());
    const auto engine = EngineOf(arguments.Get("engine"));
    const ImageShape shape = ImageShapeOf(arguments.Ints("shape", 4, 1, kMaxDim));
    const int threads = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    if (engine == nullptr) arguments.Fail("engine");
    return arguments.status().ok() ? body(*engine, shape, threads, &answer) : arguments.status();
  });
  return status.ok() ? answer : StatusToJs(info.Env(), status);
}

Napi::Value Explain(const Napi::CallbackInfo& info) {
  return WithEngine(info, [&](Engine& engine, const ImageShape& shape, int threads, Napi::Value* answer) {
    std::vector<StepReport> steps;
    const Status status = engine.Explain(shape, threads, &steps);
    Napi::Array out = Napi::Array::New(info.Env());
    for (const StepReport& step : steps) {
      Napi::Object item = Napi::Object::New(info.Env());
      item.Set("layer", step.name);
      item.Set("kernel", step.kernel);
      item.Set("output", ShapeToJs(info.Env(), step.output));
      item.Set("macs", step.macs);
      item.Set("weightBytes", step.bytes);
      item.Set("estimate", step.estimate);
      item.Set("seconds", step.seconds);
      out.Set(out.Length(), item);
    }
    *answer = out;
    return status;
  });
}

Napi::Value Memory(const Napi::CallbackInfo& info) {
  const auto engine = EngineOf(info[0]);
  if (engine == nullptr) return StatusToJs(info.Env(), {Code::kInvalidArgument, "engine"});
  const EngineMemory memory = engine->memory();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("sourceWeights", static_cast<double>(memory.source_weights));
  out.Set("packedWeights", static_cast<double>(memory.packed_weights));
  out.Set("activations", static_cast<double>(memory.activations));
  out.Set("workspace", static_cast<double>(memory.workspace));
  return out;
}

Napi::Value Dispose(const Napi::CallbackInfo& info) {
  if (Handle* handle = HandleOf(info[0])) *handle = Handle{};
  return info.Env().Undefined();
}

using Edit = Status (*)(Handle* handle, Napi::Object object);
template <Edit kEdit>
Napi::Value Edited(const Napi::CallbackInfo& info) {
  return StatusToJs(info.Env(), Guarded([&] { return kEdit(HandleOf(info[0]), info[1].As<Napi::Object>()); }));
}

}  // namespace

void ExportEngine(Napi::Env env, Napi::Object exports) {
  exports.Set("engineBuilder", Napi::Function::New(env, Builder, "engineBuilder"));
  exports.Set("engineAdd", Napi::Function::New(env, Edited<AddNode>, "engineAdd"));
  exports.Set("engineBuild", Napi::Function::New(env, Edited<Build>, "engineBuild"));
  exports.Set("engineExplain", Napi::Function::New(env, Explain, "engineExplain"));
  exports.Set("engineMemory", Napi::Function::New(env, Memory, "engineMemory"));
  exports.Set("engineDispose", Napi::Function::New(env, Dispose, "engineDispose"));
  ExportOperator<EnginePrepareJob>(env, exports, "enginePrepare");
  ExportOperator<EngineRunJob>(env, exports, "engineRun");
}

}  // namespace repfuse::addon
