// engineBuilder() -> handle. engineAdd(handle, {inputs, and a node, see network_node.h}) -> status | null. engineBuild(handle,
// {inputs, outputs, algorithm, precision, batchInvariant, leastMemory, merge, plans, memory?: {most, least, timesInput, timesWeights}}) ->
// status | null, where an input is the number of its channels, or 0 for a tensor of any rank. Then enginePrepare, engineRun {engine,
// shapes, inputs, outputs, ownsInputs, ownsOutputs, threads, sizes?}, each with its asynchronous twin; engineExplain({engine, shapes,
// threads, sizes?}) -> steps | status, where sizes are what the shapes tell of nodes (ReadSizes); engineMemory(handle);
// engineAccount(handle) -> status | null: V8 is told of its bytes; engineDispose(handle) -> status | null: runs under way keep the engine
// until they end.
#include "repfuse/engine.h"

#include <limits>

#include "job.h"
#include "network_node.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 53;
constexpr int64_t kMaxValue = std::numeric_limits<int>::max();

struct Handle {
  Network network;  // until it is built
  std::shared_ptr<Engine> engine;
  int64_t told = 0;  // bytes that V8 knows of
};

// Tells V8 how much memory the engine holds, which it frees by collecting the handle: it would not know that it is worth it.
void TellMemory(Napi::Env env, Handle* handle) {
  int64_t held = 0;
  if (handle->engine != nullptr) {
    const EngineMemory memory = handle->engine->memory();
    held = static_cast<int64_t>(memory.source_weights + memory.packed_weights + memory.activations + memory.workspace);
  }
  if (held == handle->told) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, held - handle->told);
  handle->told = held;
}

// On every handle: what another addon or Node itself made is none.
constexpr napi_type_tag kHandleTag = {0x6b1d7f0e52c94a83, 0x9e3f41c8d7a6b205};

Handle* HandleOf(const Napi::Value& value) {
  if (!value.IsExternal()) return nullptr;
  const auto external = value.As<Napi::External<Handle>>();
  return external.CheckTypeTag(&kHandleTag) ? external.Data() : nullptr;
}

std::shared_ptr<Engine> EngineOf(const Napi::Value& value) {
  Handle* handle = HandleOf(value);
  return handle == nullptr ? nullptr : handle->engine;
}

// The shape of each input.
std::vector<Shape> ReadShapes(Arguments& arguments) {
  std::vector<Shape> shapes;
  const Napi::Value given = arguments.Get("shapes");
  if (!given.IsArray()) arguments.Fail("shapes");
  else {
    for (uint32_t i = 0; i < given.As<Napi::Array>().Length(); ++i) {
      if (!ReadShape(given.As<Napi::Array>().Get(i), &shapes.emplace_back())) arguments.Fail("shapes");
    }
  }
  return shapes;
}

// What the shapes tell of nodes: [{node, ints?, sizes?: [height, width]}].
std::vector<NodeSizes> ReadSizes(Arguments& arguments) {
  std::vector<NodeSizes> sizes;
  const Napi::Value given = arguments.Get("sizes");
  if (given.IsUndefined()) return sizes;
  if (!given.IsArray()) {
    arguments.Fail("sizes");
    return sizes;
  }
  for (uint32_t i = 0; i < given.As<Napi::Array>().Length(); ++i) {
    const Napi::Value item = given.As<Napi::Array>().Get(i);
    if (!item.IsObject()) {
      arguments.Fail("sizes");
      break;
    }
    Arguments node = arguments.Child(item.As<Napi::Object>());
    NodeSizes& own = sizes.emplace_back();
    own.node = static_cast<size_t>(node.Int("node", 0, kMaxValue));
    if (!node.Get("ints").IsUndefined()) own.ints = node.List("ints", -kMaxDim, kMaxDim);
    if (node.Get("sizes").IsUndefined()) continue;
    const auto resized = node.Ints("sizes", 2, 0, kMaxDim);
    own.resize = {resized[0], resized[1]};
  }
  return sizes;
}

Napi::Value Builder(const Napi::CallbackInfo& info) {
  auto handle = std::make_unique<Handle>();
  const auto external = Napi::External<Handle>::New(info.Env(), handle.get(), [](Napi::Env env, Handle* data) {
    data->engine = nullptr;
    TellMemory(env, data);
    delete data;
  });
  static_cast<void>(handle.release());  // the external has it
  external.TypeTag(&kHandleTag);
  return external;
}

Status AddNode(Handle* handle, Napi::Object object) {
  if (handle == nullptr || handle->engine != nullptr) return {Code::kInvalidArgument, "the builder"};
  Arguments arguments(object);
  NetworkNode node;
  const Status read = ReadNode(arguments, &node);
  if (!read.ok()) return read;
  for (const int64_t input : arguments.List("inputs", 0, kMaxValue)) node.inputs.push_back(static_cast<int>(input));
  if (!arguments.status().ok()) return arguments.status();
  handle->network.nodes.push_back(std::move(node));
  return Ok();
}

Status Build(Handle* handle, Napi::Object object) {
  if (handle == nullptr || handle->engine != nullptr) return {Code::kInvalidArgument, "the builder"};
  Arguments arguments(object);
  EngineOptions options;
  ReadWord(arguments, "algorithm", kAlgorithms, &options.algorithm);
  ReadWord(arguments, "precision", kPrecisions, &options.precision);
  options.batch_invariant = arguments.Bool("batchInvariant");
  options.least_memory = arguments.Bool("leastMemory");
  options.merge = arguments.Bool("merge");
  options.plans = static_cast<int>(arguments.Int("plans", 1, 1 << 20));
  for (const int64_t channels : arguments.List("inputs", 0, kMaxDim))
    handle->network.inputs.push_back({channels == 0 ? ValueType::kTensor : ValueType::kImages, channels});
  const Napi::Value given = arguments.Get("memory");
  if (!given.IsUndefined() && !given.IsObject()) return {Code::kInvalidArgument, "memory"};
  if (given.IsObject()) {
    Arguments memory = arguments.Child(given.As<Napi::Object>());
    options.memory = {memory.Int("most", 0, kMaxBytes), memory.Int("least", 0, kMaxBytes), memory.Int("timesInput", 0, kMaxBytes),
                      memory.Int("timesWeights", 0, kMaxBytes)};
  }
  for (const int64_t output : arguments.List("outputs", 0, kMaxValue)) handle->network.outputs.push_back(static_cast<int>(output));
  if (!arguments.status().ok()) return arguments.status();
  return Engine::Create(std::move(handle->network), options, &handle->engine);
}

// What preparing and running have in common: {engine, shapes, threads}.
class EngineJob : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    threads_ = arguments.Threads();
    shapes_ = ReadShapes(arguments);
    sizes_ = ReadSizes(arguments);
    engine_ = EngineOf(arguments.Get("engine"));
    if (engine_ == nullptr) arguments.Fail("engine");
    return arguments.status();
  }

 protected:
  std::shared_ptr<Engine> engine_;
  std::vector<Shape> shapes_;
  std::vector<NodeSizes> sizes_;
  int threads_ = 1;
};

class EnginePrepareJob final : public EngineJob {
 public:
  using EngineJob::EngineJob;
  Status Run() override { return engine_->Prepare(shapes_, threads_, sizes_); }
};

class EngineRunJob final : public EngineJob {
 public:
  using EngineJob::EngineJob;

  Status Prepare() override {
    const Status prepared = EngineJob::Prepare();
    if (!prepared.ok()) return prepared;
    std::vector<Shape> shapes;
    const Status inferred = engine_->OutputShapes(shapes_, &shapes, sizes_);
    if (!inferred.ok()) return inferred;
    const Status read = ReadArrays("inputs", shapes_, false, arguments.Bool("ownsInputs"), &inputs_);
    return read.ok() ? ReadArrays("outputs", shapes, true, arguments.Bool("ownsOutputs"), &outputs_) : read;
  }
  Status Run() override {
    std::vector<std::span<const float>> inputs;
    for (const Operand* input : inputs_) inputs.push_back(input->span());
    std::vector<std::span<float>> outputs;
    for (const Operand* output : outputs_) outputs.push_back(output->out_span());
    return engine_->Run(shapes_, inputs, outputs, threads_, sizes_);
  }

 private:
  Status ReadArrays(const char* name, const std::vector<Shape>& shapes, bool writable, bool owned, std::vector<Operand*>* out) {
    const Napi::Value given = arguments.Get(name);
    if (!given.IsArray() || given.As<Napi::Array>().Length() != shapes.size()) return {Code::kInvalidArgument, name};
    for (uint32_t i = 0; i < shapes.size(); ++i) {
      Operand* operand = arguments.Array(given.As<Napi::Array>().Get(i), name, writable);
      if (operand == nullptr) break;
      if (operand->type != napi_float32_array || operand->count != static_cast<size_t>(shapes[i].count()))
        return {Code::kInvalidArgument, name, i};
      operand->owned = owned;
      out->push_back(operand);
    }
    return arguments.status();
  }

  std::vector<Operand*> inputs_, outputs_;
};

Napi::Value Explain(const Napi::CallbackInfo& info) {
  Napi::Array out = Napi::Array::New(info.Env());
  const Status status = Guarded([&]() -> Status {
    Arguments arguments(info[0].As<Napi::Object>());
    const auto engine = EngineOf(arguments.Get("engine"));
    const std::vector<Shape> shapes = ReadShapes(arguments);
    const std::vector<NodeSizes> sizes = ReadSizes(arguments);
    const int threads = arguments.Threads();
    if (engine == nullptr) arguments.Fail("engine");
    if (!arguments.status().ok()) return arguments.status();
    std::vector<StepReport> steps;
    const Status explained = engine->Explain(shapes, threads, &steps, sizes);
    for (const StepReport& step : steps) {
      Napi::Object item = Napi::Object::New(info.Env());
      item.Set("layer", step.name);
      item.Set("kernel", step.kernel);
      item.Set("output", ShapeToJs(info.Env(), step.output));
      item.Set("macs", step.macs);
      item.Set("weightBytes", step.bytes);
      item.Set("epilogue", step.epilogue);
      item.Set("estimate", step.estimate);
      item.Set("seconds", step.seconds);
      item.Set("error", step.error);
      out.Set(out.Length(), item);
    }
    return explained;
  });
  return status.ok() ? out : StatusToJs(info.Env(), status);
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
  Handle* handle = HandleOf(info[0]);
  if (handle == nullptr) return StatusToJs(info.Env(), {Code::kInvalidArgument, "engine"});
  handle->network = {};
  handle->engine = nullptr;
  TellMemory(info.Env(), handle);
  return info.Env().Null();
}

Napi::Value Account(const Napi::CallbackInfo& info) {
  Handle* handle = HandleOf(info[0]);
  if (handle == nullptr) return StatusToJs(info.Env(), {Code::kInvalidArgument, "engine"});
  TellMemory(info.Env(), handle);
  return info.Env().Null();
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
  exports.Set("engineAccount", Napi::Function::New(env, Account, "engineAccount"));
  exports.Set("engineDispose", Napi::Function::New(env, Dispose, "engineDispose"));
  ExportOperator<EnginePrepareJob>(env, exports, "enginePrepare");
  ExportOperator<EngineRunJob>(env, exports, "engineRun");
}

}  // namespace repfuse::addon
