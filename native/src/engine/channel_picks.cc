#include "channel_picks.h"

#include <algorithm>
#include <array>

#include "../kernels/blocked/pick_lanes.h"

namespace repfuse {
namespace {

constexpr int64_t kPixels = 256;  // of a share, where rows follow each other

}  // namespace

bool ChannelPicks::CanRead(const std::vector<Value>& inputs, const Value& output) {
  const auto is_blocked = [](const Value& value) { return value.layout.kind != Layout::Kind::kPlanar && value.layout.terms == 0; };
  return is_blocked(output) && std::all_of(inputs.begin(), inputs.end(), is_blocked);
}

ChannelPicks::ChannelPicks(std::vector<Value> inputs, Value output, const std::vector<ChannelFrom>& channels, const KernelTable& kernels)
    : inputs_(std::move(inputs)), output_(output), pick_(kernels.blocked.pick_lanes) {
  const int64_t lanes = kernels.blocked.lanes, width = output_.layout.shape.width;
  const auto count = static_cast<int64_t>(channels.size());
  for (int64_t plane = 0; plane < output_.layout.blocks(); ++plane) {
    bool is_own = true;
    std::vector<Picked> vectors;
    for (int64_t lane = 0; lane < kBlock; lane += lanes) {
      Picked picked{plane, lane, {}, {}};
      for (int64_t i = 0; i < lanes && plane * kBlock + lane + i < count; ++i) {
        const size_t input = channels[static_cast<size_t>(plane * kBlock + lane + i)].input;
        const int64_t channel = channels[static_cast<size_t>(plane * kBlock + lane + i)].channel;
        const Value& from = inputs_[input];
        const int64_t vector = channel % kBlock / lanes * lanes;
        const int64_t at = from.layout.block(channel / kBlock) + vector;
        is_own = is_own && from.slot == output_.slot && from.layout.at(0, channel / kBlock, 0, 0) == output_.layout.at(0, plane, 0, 0) &&
                 channel % kBlock == lane + i;
        auto source = std::find_if(picked.sources.begin(), picked.sources.end(),
                                   [&](const Source& each) { return each.input == input && each.at == at; });
        if (source == picked.sources.end()) {
          source = picked.sources.insert(source, {input, at});
          picked.lanes.resize(picked.lanes.size() + static_cast<size_t>(lanes), -1);
        }
        const int64_t index = source - picked.sources.begin();
        picked.lanes[static_cast<size_t>(index * lanes + i)] = static_cast<int32_t>(channel % kBlock - vector);
      }
      vectors.push_back(std::move(picked));
    }
    if (!is_own) std::move(vectors.begin(), vectors.end(), std::back_inserter(picked_));
  }
  const auto is_bare = [](const Value& value) { return value.layout.before == 0 && value.layout.after == 0; };
  if (is_bare(output_) && std::all_of(inputs_.begin(), inputs_.end(), is_bare)) rows_ = std::max<int64_t>(kPixels / width, 1);
}

void ChannelPicks::Run(const RunState& run) const {
  const ImageShape& to = output_.layout.shape;
  const auto vectors = static_cast<int64_t>(picked_.size());
  const int64_t parts = (to.height + rows_ - 1) / rows_;
  ForEach(to.batch * vectors * parts, run.threads, [&](int64_t share, int) {
    const Picked& picked = picked_[static_cast<size_t>(share % vectors)];
    const int64_t n = share / vectors / parts, row = share / vectors % parts * rows_;
    std::array<const float*, kBlock> x{};
    for (size_t s = 0; s < picked.sources.size(); ++s) {
      const Source& source = picked.sources[s];
      const Value& from = inputs_[source.input];
      x[s] = run.at(from) + from.layout.at(n, 0, row, 0) + source.at;
    }
    pick_({.x = x.data(),
           .lanes = picked.lanes.data(),
           .count = static_cast<int64_t>(picked.sources.size()),
           .y = run.at(output_) + output_.layout.at(n, picked.plane, row, 0) + picked.lane,
           .pixels = std::min(rows_, to.height - row) * to.width});
  });
}

}  // namespace repfuse
