// tensorOp: {a node (see network_node.h), operands [Float32Array], shapes [[sizes]], output, threads}. tensorOpShape({a node, shapes}) ->
// sizes | status.
#include "repfuse/tensor_op.h"

#include "job.h"
#include "network_node.h"
#include "operators.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

class TensorOpJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    const Status read = ReadNode(arguments, &node_);
    if (!read.ok()) return read;
    threads_ = arguments.Threads();
    const Napi::Value operands = arguments.Get("operands"), shapes = arguments.Get("shapes");
    if (!operands.IsArray() || !shapes.IsArray() || operands.As<Napi::Array>().Length() != shapes.As<Napi::Array>().Length())
      return {Code::kInvalidArgument, "operands"};
    for (uint32_t i = 0; i < operands.As<Napi::Array>().Length(); ++i) {
      Shape shape;
      if (!ReadShape(shapes.As<Napi::Array>().Get(i), &shape)) return {Code::kInvalidArgument, "shapes", i};
      Operand* operand = arguments.Array(operands.As<Napi::Array>().Get(i), "operands", false);
      if (operand == nullptr || operand->type != napi_float32_array || operand->count != static_cast<size_t>(shape.count()))
        return {Code::kInvalidArgument, "operands", i};
      operands_.push_back(operand);
      shapes_.push_back(shape);
    }
    Shape output;
    const Status inferred = TensorOpShape(node_, Views(), &output);
    if (!inferred.ok()) return inferred;
    output_ = arguments.OutF32("output", output.count());
    return arguments.status();
  }

  Status Run() override { return RunTensorOp(node_, Views(), output_->out_span(), threads_); }

 private:
  // An asynchronous call moves its operands after they have been checked.
  std::vector<TensorView> Views() const {
    std::vector<TensorView> views;
    for (size_t i = 0; i < operands_.size(); ++i) views.push_back({operands_[i]->f32(), shapes_[i]});
    return views;
  }

  NetworkNode node_;
  std::vector<const Operand*> operands_;
  std::vector<Shape> shapes_;
  const Operand* output_ = nullptr;
  int threads_ = 1;
};

Napi::Value InferShape(const Napi::CallbackInfo& info) {
  Shape output;
  const Status status = Guarded([&]() -> Status {
    Arguments arguments(info[0].As<Napi::Object>());
    NetworkNode node;
    const Status read = ReadNode(arguments, &node);
    if (!read.ok()) return read;
    std::vector<TensorView> views;
    const Napi::Value shapes = arguments.Get("shapes");
    if (!shapes.IsArray()) return {Code::kInvalidArgument, "shapes"};
    for (uint32_t i = 0; i < shapes.As<Napi::Array>().Length(); ++i) {
      Shape shape;
      if (!ReadShape(shapes.As<Napi::Array>().Get(i), &shape)) return {Code::kInvalidArgument, "shapes", i};
      views.push_back({nullptr, shape});
    }
    return TensorOpShape(node, views, &output);
  });
  return status.ok() ? ShapeToJs(info.Env(), output) : StatusToJs(info.Env(), status);
}

}  // namespace

void ExportTensorOp(Napi::Env env, Napi::Object exports) {
  exports.Set("tensorOpShape", Napi::Function::New(env, InferShape, "tensorOpShape"));
  ExportOperator<TensorOpJob>(env, exports, "tensorOp");
}

}  // namespace repfuse::addon
