#include <algorithm>

#include "conv_rows.h"

namespace repfuse {
namespace {

// Inputs and partial sums of a share: they stay in the L2 cache between the passes.
constexpr int64_t kShareBytes = 192 << 10;
// A layer has at least so many shares where it has the rows.
constexpr int64_t kShares = 8;

class DirectConv final : public Step {
 public:
  DirectConv(ConvSetting setting, TileSize tile, Value output)
      : Step(output), rows_(setting, tile, setting.input.layout, output.layout) {
    const ConvSetting& s = rows_.setting();
    const Layout &in = s.input.layout, &to = output.layout;
    const int64_t row_bytes = (s.stride_h * in.row() * rows_.slab() + tile.blocks * to.row()) * 4;
    rows_of_part_ = std::clamp<int64_t>(kShareBytes / row_bytes, 1, to.shape.height);
    const int64_t others = to.shape.batch * static_cast<int64_t>(s.weights->panels.size());
    const int64_t parts = std::max((to.shape.height + rows_of_part_ - 1) / rows_of_part_, std::min(to.shape.height, (kShares + others - 1) / others));
    rows_of_part_ = (to.shape.height + parts - 1) / parts;
    parts_ = (to.shape.height + rows_of_part_ - 1) / rows_of_part_;
    by_rows_ = static_cast<int64_t>(s.weights->weight.bytes()) < in.elements() * 4;
  }

  void Run(const RunState& run) const override {
    const ConvSetting& s = rows_.setting();
    const Layout &in = s.input.layout, &to = output_.layout;
    const int64_t panels = static_cast<int64_t>(s.weights->panels.size()), parts = parts_ * to.shape.batch;
    ForEach(panels * parts, run.threads, [&](int64_t share, int) {
      const int64_t part = by_rows_ ? share / panels : share % parts;
      const Panel& panel = s.weights->panels[static_cast<size_t>(by_rows_ ? share % panels : share / parts)];
      const int64_t n = part / parts_, from = part % parts_ * rows_of_part_;
      const float* x = run.slots[s.input.slot] + in.at(n, in.form == Layout::Form::kPlanar ? 0 : panel.in_block, from * s.stride_h - s.pad_top, -s.pad_left);
      const float* residual = s.residual ? run.slots[s.residual->slot] + s.residual->layout.at(n, panel.block, from, 0) : nullptr;
      rows_.Run(panel, x, out(run) + to.at(n, panel.block, from, 0), residual, std::min(rows_of_part_, to.shape.height - from));
    });
  }

  std::string kernel() const override { return rows_.kernel(); }

 private:
  DirectRows rows_;
  int64_t rows_of_part_ = 1, parts_ = 1;
  // A thread takes rows of all channels, which the layers around also gave it, or all rows of some channels, whose weights no other thread
  // then reads: whichever is more.
  bool by_rows_ = false;
};

}  // namespace

std::unique_ptr<Step> MakeDirectConv(ConvSetting setting, TileSize tile, Value output) {
  return std::make_unique<DirectConv>(std::move(setting), tile, output);
}

}  // namespace repfuse
