// The module: per-environment state and the list of exported functions.
#include <napi.h>

#include <memory>
#include <string>

#include "job.h"
#include "operators.h"
#include "repfuse/cpu.h"
#include "repfuse/huge_pages.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

Napi::Value Info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  out.Set("isa", IsaName(Kernels().isa));
  Napi::Array available = Napi::Array::New(env);
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (IsaSupported(isa)) available.Set(available.Length(), IsaName(isa));
  }
  out.Set("isasAvailable", available);
  Napi::Object kernels = Napi::Object::New(env);
  kernels.Set("gemm", Kernels().gemm.name);
  kernels.Set("blocked", Kernels().blocked.name);
  const ProductKernels& products = Kernels().products;
  const char* multiplies = products.tiles.name != nullptr ? products.tiles.name : products.pairs_name;
  kernels.Set("products", multiplies == nullptr ? Napi::Value(env.Null()) : Napi::Value(Napi::String::New(env, multiplies)));
  out.Set("kernels", kernels);
  out.Set("defaultThreads", DefaultThreads());
  out.Set("poolThreads", PoolThreads());
  const double quota = CgroupCpuQuota();
  out.Set("cpuQuota", quota > 0 ? Napi::Value(Napi::Number::New(env, quota)) : Napi::Value(env.Null()));
  out.Set("pendingJobs", static_cast<double>(env.GetInstanceData<Environment>()->pending()));
  return out;
}

// setIsa(name): true when the level is now in force.
Napi::Value SetIsaByName(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (name == IsaName(isa)) return Napi::Boolean::New(info.Env(), SetIsa(isa));
  }
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value Cancel(const Napi::CallbackInfo& info) {
  info.Env().GetInstanceData<Environment>()->Cancel(info[0].ToNumber().Int64Value());
  return info.Env().Undefined();
}

// adviseHugePages(bytes: Uint8Array): for memory that has just been allocated.
Napi::Value AdviseHugePages(const Napi::CallbackInfo& info) {
  if (info[0].IsTypedArray()) {
    const Napi::TypedArray array = info[0].As<Napi::TypedArray>();
    repfuse::AdviseHugePages(static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength());
  }
  return info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto owned = std::make_unique<Environment>(env);
  env.SetInstanceData(owned.get());
  Environment* const environment = owned.release();  // the environment's data: Node deletes it, after the cleanup hooks
  // Added after the completion function, the hook runs before that closes.
  env.AddCleanupHook([](Environment* self) { self->Drain(); }, environment);
  exports.Set("info", Napi::Function::New(env, Info, "info"));
  exports.Set("setIsa", Napi::Function::New(env, SetIsaByName, "setIsa"));
  exports.Set("adviseHugePages", Napi::Function::New(env, AdviseHugePages, "adviseHugePages"));
  exports.Set("cancel", Napi::Function::New(env, Cancel, "cancel"));
  ExportElementwise(env, exports);
  ExportConv(env, exports);
  ExportPool(env, exports);
  ExportProbes(env, exports);
  ExportFuse(env, exports);
  ExportHalf(env, exports);
  ExportEngine(env, exports);
  ExportTensorOp(env, exports);
  return exports;
}

}  // namespace
}  // namespace repfuse::addon

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) { return repfuse::addon::Init(env, exports); }
NODE_API_MODULE(repfuse, InitModule)
