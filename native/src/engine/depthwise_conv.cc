#include <algorithm>

#include "depthwise_rows.h"

namespace repfuse {
namespace {

constexpr int64_t kRows = 4;  // of a share

class DepthwiseConv final : public Step {
 public:
  DepthwiseConv(const ConvSetting& setting, Value output)
      : Step(output), rows_(setting, setting.input.layout, output.layout), parts_((output.layout.shape.height + kRows - 1) / kRows) {}

  void Run(const RunState& run) const override {
    const ConvSetting& s = rows_.setting();
    const Layout &in = s.input.layout, &to = output_.layout;
    ForEach(to.shape.batch * to.blocks() * parts_, run.threads, [&](int64_t share, int) {
      const int64_t block = share % to.blocks(), part = share / to.blocks() % parts_,
                    n = share / to.blocks() / parts_;  // by rows, as the layers around
      const int64_t from = part * kRows;
      const float* x = run.slots[s.input.slot] + in.at(n, block, from * s.stride_h - s.pad_top, -s.pad_left);
      const float* residual = s.residual ? run.slots[s.residual->slot] + s.residual->layout.at(n, block, from, 0) : nullptr;
      rows_.Run(block, x, out(run) + to.at(n, block, from, 0), residual, std::min(kRows, to.shape.height - from),
                RowSums(run, s.row_sums, n, from));
    });
  }

  std::string kernel() const override { return rows_.kernel(); }

 private:
  DepthwiseRows rows_;
  int64_t parts_;
};

}  // namespace

std::unique_ptr<Step> MakeDepthwiseConv(const ConvSetting& setting, Value output) {
  return std::make_unique<DepthwiseConv>(setting, output);
}

}  // namespace repfuse
