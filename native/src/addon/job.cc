#include "job.h"

#include <new>

#include "repfuse/parallel.h"

namespace repfuse::addon {

struct Environment::Pending {
  std::unique_ptr<Job> job;
  Napi::Promise::Deferred deferred;
  std::atomic<bool> cancelled{false};
  Status status;
  int64_t id;

  Pending(Napi::Env env, std::unique_ptr<Job> j, int64_t i) : job(std::move(j)), deferred(Napi::Promise::Deferred::New(env)), id(i) {}
};

Environment::Environment(Napi::Env env) : completion_(Completion::New(env, "repfuse:completion", 0, 1, this)) {
  completion_.Unref(env);  // an idle addon must not keep the process alive
}

Environment::~Environment() = default;

Status Guarded(const std::function<Status()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "memory"};
  } catch (const Napi::Error&) {
    return {Code::kInvalidArgument, "a getter of the arguments threw"};
  } catch (const std::exception&) {
    return {Code::kInvalidArgument, "unexpected failure in the native core"};
  }
}

Napi::Value StatusToJs(Napi::Env env, const Status& status) {
  if (status.ok()) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", static_cast<int>(status.code));
  object.Set("message", status.message);
  object.Set("where", static_cast<double>(status.where));
  return object;
}

Napi::Value Environment::Start(Napi::Env env, std::unique_ptr<Job> job, bool borrow) {
  const Status kept = job->arguments.Keep(borrow);
  if (!kept.ok()) return StatusToJs(env, kept);
  const int64_t id = next_id_++;
  auto owned = std::make_unique<Pending>(env, std::move(job), id);
  Pending* pending = owned.get();
  const Napi::Promise promise = pending->deferred.Promise();
  if (jobs_.empty()) completion_.Ref(env);
  jobs_.emplace(id, std::move(owned));
  {
    std::lock_guard lock(mutex_);
    ++on_pool_;
  }
  Submit([this, pending] {
    if (pending->cancelled.load(std::memory_order_relaxed)) {
      pending->status = {Code::kCancelled, "cancelled before it began"};
    } else {
      const CancelScope scope(pending->job->cancellable() ? &pending->cancelled : nullptr);
      pending->status = Guarded([&] { return pending->job->Run(); });
      if (Cancelled()) pending->status = {Code::kCancelled, "cancelled"};
    }
    std::lock_guard lock(mutex_);
    if (!closing_) completion_.NonBlockingCall(pending);
    if (--on_pool_ == 0) idle_.notify_all();
  });
  Napi::Object started = Napi::Object::New(env);
  started.Set("id", static_cast<double>(id));
  started.Set("promise", promise);
  return started;
}

void Environment::Complete(Napi::Env env, Napi::Function, Environment* self, Pending* pending) {
  if (env == nullptr) return;  // the environment is going away: Drain owns what is left
  const auto found = self->jobs_.find(pending->id);
  const std::unique_ptr<Pending> owned = std::move(found->second);
  self->jobs_.erase(found);
  if (self->jobs_.empty()) self->completion_.Unref(env);
  Napi::HandleScope scope(env);
  Status status = owned->status;
  if (status.ok() && !owned->job->arguments.Deliver()) status = {Code::kInvalidArgument, "output (detached during the call)"};
  owned->deferred.Resolve(StatusToJs(env, status));
}

void Environment::Cancel(int64_t id) {
  const auto found = jobs_.find(id);
  if (found != jobs_.end()) found->second->cancelled.store(true, std::memory_order_relaxed);
}

void Environment::Drain() {
  for (auto& [id, pending] : jobs_) pending->cancelled.store(true, std::memory_order_relaxed);
  {
    std::unique_lock lock(mutex_);
    closing_ = true;
    idle_.wait(lock, [this] { return on_pool_ == 0; });
  }
  jobs_.clear();
  completion_.Abort();
}

}  // namespace repfuse::addon
