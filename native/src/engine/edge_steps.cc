// Where data enter and leave the engine's layout.
#include <algorithm>

#include "../kernels/terms/terms.h"
#include "edge_steps.h"
#include "planes.h"

namespace repfuse {
namespace {

// The caller's planes, interleaved.
class IngestTerms final : public Step {
 public:
  IngestTerms(const TermKernels& kernels, Value output, size_t index) : Step(output), kernels_(kernels), index_(index) {}

  void Run(const RunState& run) const override {
    const Layout& to = output_.layout;
    const ImageShape& s = to.shape;
    ForEach(s.batch * s.height, run.threads, [&](int64_t index, int) {
      const int64_t n = index / s.height, y = index % s.height;
      TermPlanes row{{}, s.width, reinterpret_cast<uint16_t*>(out(run) + to.at(n, 0, y, 0)), 2 * to.term()};
      for (int64_t c = 0; c < s.channels; ++c) row.planes[c] = run.inputs[index_].data() + ((n * s.channels + c) * s.height + y) * s.width;
      kernels_.planes(row, to.terms);
    });
  }
  std::string kernel() const override { return "ingest bf16 terms"; }

 private:
  TermKernels kernels_;
  size_t index_;
};

// A value of float32 as terms.
class SplitStep final : public Step {
 public:
  SplitStep(Value input, const TermKernels& kernels, Value output) : Step(output), input_(input), kernels_(kernels) {}

  void Run(const RunState& run) const override {
    const Layout &in = input_.layout, &to = output_.layout;
    ForEach(to.shape.batch * in.blocks() * to.shape.height, run.threads, [&](int64_t index, int) {
      const int64_t y = index % to.shape.height, block = index / to.shape.height % in.blocks(), n = index / to.shape.height / in.blocks();
      auto* row = reinterpret_cast<uint16_t*>(out(run) + to.at(n, 0, y, 0) + to.block(block));
      kernels_.row({run.slots[input_.slot] + in.at(n, block, y, 0), to.shape.width, row, kTermBlock, 2 * to.term()}, to.terms);
      const int64_t channels = in.shape.channels - block * kBlock;
      if (channels >= kBlock) return;
      for (int term = 0; term < to.terms; ++term, row += 2 * to.term()) {  // as ClearPaddedChannels
        for (int64_t x = 0; x < to.shape.width; ++x) std::fill_n(row + x * kTermBlock + channels, kBlock - channels, uint16_t{0});
      }
    });
  }
  std::string kernel() const override { return "split"; }

 private:
  Value input_;
  TermKernels kernels_;
};

class Ingest final : public Step {
 public:
  Ingest(Value output, size_t index) : Step(output), index_(index) {}
  void Run(const RunState& run) const override { FromPlanes(run.inputs[index_].data(), output_.layout, out(run), run.threads); }
  std::string kernel() const override { return output_.layout.kind == Layout::Kind::kPlanar ? "ingest planar" : "ingest"; }

 private:
  size_t index_;
};

class Deliver final : public Step {
 public:
  Deliver(Value input, size_t index) : Step(input), input_(input), index_(index) {}
  void Run(const RunState& run) const override { ToPlanes(run.slots[input_.slot], input_.layout, run.outputs[index_].data(), run.threads); }
  std::string kernel() const override { return "deliver"; }

 private:
  Value input_;
  size_t index_;
};

}  // namespace

std::unique_ptr<Step> MakeIngest(const KernelTable& kernels, Value output, size_t index) {
  if (output.layout.terms > 0) return std::make_unique<IngestTerms>(kernels.terms, output, index);
  return std::make_unique<Ingest>(output, index);
}
std::unique_ptr<Step> MakeSplit(Value input, const KernelTable& kernels, Value output) {
  if (input.layout.kind == Layout::Kind::kVectors) {
    input.layout = input.layout.AsPixels();
    output.layout = output.layout.AsPixels();
  }
  return std::make_unique<SplitStep>(input, kernels.terms, output);
}
std::unique_ptr<Step> MakeDeliver(Value input, size_t index) { return std::make_unique<Deliver>(input, index); }

}  // namespace repfuse
