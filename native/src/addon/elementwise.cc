// relu and add: {input | a, b, output, threads}.
#include "job.h"
#include "operators.h"
#include "repfuse/kernels.h"
#include "repfuse/parallel.h"

namespace repfuse::addon {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 53;
constexpr int64_t kShare = 1 << 15;  // elements of one index of the loop

void ForShares(int64_t count, int threads, const std::function<void(int64_t begin, int64_t size)>& body) {
  ParallelFor((count + kShare - 1) / kShare, threads, [&](int64_t i, int) { body(i * kShare, std::min(kShare, count - i * kShare)); });
}

class ReluJob final : public Job {
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
    const UnaryF32 kernel = Kernels().relu;
    ForShares(count_, threads_, [&](int64_t begin, int64_t size) {
      kernel(input_->f32() + begin, output_->out_f32() + begin, static_cast<size_t>(size));
    });
    return Ok();
  }

 private:
  int64_t count_ = 0;
  int threads_ = 1;
  const Operand* input_ = nullptr;
  const Operand* output_ = nullptr;
};

class AddJob final : public Job {
 public:
  using Job::Job;

  Status Prepare() override {
    count_ = arguments.Int("count", 0, kMaxElements);
    threads_ = static_cast<int>(arguments.Int("threads", 1, kMaxThreads));
    a_ = arguments.F32("a", count_);
    b_ = arguments.F32("b", count_);
    output_ = arguments.OutF32("output", count_);
    return arguments.status();
  }

  Status Run() override {
    const BinaryF32 kernel = Kernels().add;
    ForShares(count_, threads_, [&](int64_t begin, int64_t size) {
      kernel(a_->f32() + begin, b_->f32() + begin, output_->out_f32() + begin, static_cast<size_t>(size));
    });
    return Ok();
  }

 private:
  int64_t count_ = 0;
  int threads_ = 1;
  const Operand* a_ = nullptr;
  const Operand* b_ = nullptr;
  const Operand* output_ = nullptr;
};

}  // namespace

void ExportElementwise(Napi::Env env, Napi::Object exports) {
  ExportOperator<ReluJob>(env, exports, "relu");
  ExportOperator<AddJob>(env, exports, "add");
}

}  // namespace repfuse::addon
