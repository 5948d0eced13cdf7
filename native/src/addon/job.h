// Turns an operator into two exported functions: `name(args)` runs on the calling thread, `nameAsync(args)` on the
// pool. Both return null or a status object; TypeScript makes the error.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "arguments.h"

namespace repfuse::addon {

// One call of one operator. A subclass reads its arguments in Prepare and computes in Run, which may be on any thread
// and touches no JavaScript.
class Job {
 public:
  explicit Job(Napi::Object object) : arguments(object) {}
  virtual ~Job() = default;
  virtual Status Prepare() = 0;
  virtual Status Run() = 0;
  // False for operators that must not stop half-way (in-place fusing).
  virtual bool cancellable() const { return true; }

  Arguments arguments;
};

// What a prepared call computes.
using Work = std::function<Status()>;

// An operator that is a function: it reads and checks its arguments, and returns what is to be computed. What it returns where they are
// at fault is not looked at.
template <Work (*kPrepare)(Arguments&)>
class FunctionJob final : public Job {
 public:
  using Job::Job;
  Status Prepare() override {
    work_ = kPrepare(arguments);
    return arguments.status();
  }
  Status Run() override { return work_(); }

 private:
  Work work_;
};

// State of one environment (main thread or worker_thread): its outstanding asynchronous jobs.
class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment();

  // Starts the job on the pool. Returns {id, promise}.
  Napi::Value Start(Napi::Env env, std::unique_ptr<Job> job, bool borrow);
  // Drops a queued job, or stops a running one between two shares of work.
  void Cancel(int64_t id);
  // Waits for what runs and drops the rest: called when the environment goes away.
  void Drain();

  size_t pending() const { return jobs_.size(); }

 private:
  struct Pending;
  static void Complete(Napi::Env env, Napi::Function, Environment* self, Pending* pending);
  using Completion = Napi::TypedThreadSafeFunction<Environment, Pending, Complete>;

  Completion completion_;
  std::unordered_map<int64_t, std::unique_ptr<Pending>> jobs_;  // JavaScript thread only
  int64_t next_id_ = 1;
  std::mutex mutex_;
  std::condition_variable idle_;
  int64_t on_pool_ = 0;
  bool closing_ = false;
};

Napi::Value StatusToJs(Napi::Env env, const Status& status);

// Runs prepare and the body, turning C++ exceptions (bad_alloc) into a status.
Status Guarded(const std::function<Status()>& body);

template <typename Op>
void ExportOperator(Napi::Env env, Napi::Object exports, const char* name) {
  const auto sync = [](const Napi::CallbackInfo& info) -> Napi::Value {
    if (info.Length() < 1 || !info[0].IsObject()) return StatusToJs(info.Env(), {Code::kInvalidArgument, "arguments"});
    return StatusToJs(info.Env(), Guarded([&] {
                        Op op(info[0].As<Napi::Object>());
                        const Status prepared = op.Prepare();
                        return prepared.ok() ? op.Run() : prepared;
                      }));
  };
  const auto async = [](const Napi::CallbackInfo& info) -> Napi::Value {
    if (info.Length() < 1 || !info[0].IsObject()) return StatusToJs(info.Env(), {Code::kInvalidArgument, "arguments"});
    auto op = std::make_unique<Op>(info[0].As<Napi::Object>());
    const Status prepared = Guarded([&] { return op->Prepare(); });
    if (!prepared.ok()) return StatusToJs(info.Env(), prepared);
    const bool borrow = info.Length() > 1 && info[1].ToBoolean().Value();
    return info.Env().GetInstanceData<Environment>()->Start(info.Env(), std::move(op), borrow);
  };
  exports.Set(name, Napi::Function::New(env, sync, name));
  exports.Set(std::string(name) + "Async", Napi::Function::New(env, async, name));
}

template <Work (*kPrepare)(Arguments&)>
void ExportOperator(Napi::Env env, Napi::Object exports, const char* name) {
  ExportOperator<FunctionJob<kPrepare>>(env, exports, name);
}

}  // namespace repfuse::addon
