#include "dense_rows.h"

#include <algorithm>

namespace repfuse {
namespace {

// Inputs and partial sums of a share: they stay in the L2 cache between the passes.
constexpr int64_t kShareBytes = 192 << 10;
// A layer has at least so many shares where it has the rows.
constexpr int64_t kShares = 8;

class DenseConv final : public Step {
 public:
  DenseConv(const ConvSetting& setting, TileSize tile, int threads, Value output)
      : Step(output), rows_(MakeDenseRows(setting, tile, setting.input.layout, output.layout)) {
    const ConvSetting& s = rows_->setting();
    const Layout &in = s.input.layout, &to = output.layout;
    const int64_t panels = static_cast<int64_t>(s.weights->panels.size());
    groups_ = std::max((panels + rows_->panels_together() - 1) / rows_->panels_together(), std::min<int64_t>(panels, threads));
    const int64_t row_bytes = (s.stride_h * in.row() * rows_->slab() + tile.blocks * to.shape.width * kBlock) * 4;
    rows_of_part_ = std::clamp<int64_t>(kShareBytes / row_bytes, 1, to.shape.height);
    const int64_t others = to.shape.batch * groups_;
    const int64_t parts =
        std::max((to.shape.height + rows_of_part_ - 1) / rows_of_part_, std::min(to.shape.height, (kShares + others - 1) / others));
    rows_of_part_ = (to.shape.height + parts - 1) / parts;
    parts_ = (to.shape.height + rows_of_part_ - 1) / rows_of_part_;
    by_rows_ = static_cast<int64_t>(s.weights->weight.bytes()) < in.elements() * 4;
  }

  void Run(const RunState& run) const override {
    const ConvSetting& s = rows_->setting();
    const Layout &in = s.input.layout, &to = output_.layout;
    const int64_t panels = static_cast<int64_t>(s.weights->panels.size()), parts = parts_ * to.shape.batch;
    ForEach(groups_ * parts, run.threads, [&](int64_t index, int slot) {
      const int64_t part = by_rows_ ? index / groups_ : index % parts, group = by_rows_ ? index % groups_ : index / parts;
      const int64_t n = part / parts_, from = part % parts_ * rows_of_part_;
      DenseShare share{};
      share.first_panel = static_cast<size_t>(panels * group / groups_);
      share.last_panel = static_cast<size_t>(panels * (group + 1) / groups_);
      share.rows = std::min(rows_of_part_, to.shape.height - from);
      share.x = run.slots[s.input.slot] + in.at(n, 0, from * s.stride_h - s.pad_top, -s.pad_left);
      share.y = out(run) + to.at(n, 0, from, 0);
      share.residual = s.residual ? run.slots[s.residual->slot] + s.residual->layout.at(n, 0, from, 0) : nullptr;
      share.scratch = run.workspace + slot * run.workspace_size;
      share.sums = RowSums(run, s.row_sums, n, from);
      rows_->Run(share);
    });
  }

  int64_t workspace() const override {
    return rows_->scratch(rows_of_part_, (static_cast<int64_t>(rows_->setting().weights->panels.size()) + groups_ - 1) / groups_);
  }
  std::string kernel() const override { return rows_->kernel(); }

 private:
  std::unique_ptr<DenseRows> rows_;
  int64_t groups_ = 1;  // of panels
  int64_t rows_of_part_ = 1, parts_ = 1;
  // A thread takes rows of all channels, which the layers around also gave it, or all rows of some channels, whose weights no other thread
  // then reads: whichever is more.
  bool by_rows_ = false;
};

}  // namespace

std::unique_ptr<Step> MakeDenseConv(const ConvSetting& setting, TileSize tile, int threads, Value output) {
  return std::make_unique<DenseConv>(setting, tile, threads, output);
}

}  // namespace repfuse
