// Where data enter and leave the engine's layout.
#include <algorithm>
#include <cstring>

#include "steps.h"

namespace repfuse {
namespace {

class Ingest final : public Step {
 public:
  using Step::Step;

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const ImageShape& s = to.shape;
    ForEach(s.batch * to.planes(), run.threads, [&](int64_t index, int) {
      const int64_t n = index / to.planes(), plane = index % to.planes(), lanes = to.pixel();
      const int64_t channels = std::min(lanes, s.channels - plane * lanes);
      for (int64_t y = 0; y < s.height; ++y) {
        float* row = out(run) + to.at(n, plane, y, 0);
        const float* from = run.input + ((n * s.channels + plane * lanes) * s.height + y) * s.width;
        if (lanes == 1) {
          std::memcpy(row, from, static_cast<size_t>(s.width) * sizeof(float));
          continue;
        }
        for (int64_t c = 0; c < lanes; ++c) {
          for (int64_t x = 0; x < s.width; ++x) row[x * lanes + c] = c < channels ? from[c * s.height * s.width + x] : 0.0f;
        }
      }
    });
  }
  std::string kernel() const override { return output_.layout.form == Layout::Form::kPlanar ? "ingest planar" : "ingest"; }
};

class Deliver final : public Step {
 public:
  explicit Deliver(Value input) : Step(input), input_(input) {}

  void Run(const RunState& run) const override {
    const Layout& in = input_.layout;
    const ImageShape& s = in.shape;
    ForEach(s.batch * in.planes(), run.threads, [&](int64_t index, int) {
      const int64_t n = index / in.planes(), plane = index % in.planes(), lanes = in.pixel();
      const int64_t channels = std::min(lanes, s.channels - plane * lanes);
      for (int64_t y = 0; y < s.height; ++y) {
        const float* row = run.slots[input_.slot] + in.at(n, plane, y, 0);
        float* to = run.output + ((n * s.channels + plane * lanes) * s.height + y) * s.width;
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t x = 0; x < s.width; ++x) to[c * s.height * s.width + x] = row[x * lanes + c];
        }
      }
    });
  }
  std::string kernel() const override { return "deliver"; }

 private:
  Value input_;
};

}  // namespace

std::unique_ptr<Step> MakeIngest(Value output) { return std::make_unique<Ingest>(output); }
std::unique_ptr<Step> MakeDeliver(Value input) { return std::make_unique<Deliver>(input); }

}  // namespace repfuse
