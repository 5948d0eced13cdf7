// Channels of some images to any places of another's, without leaving the blocks.
#pragma once

#include <vector>

#include "operators/operator.h"

namespace repfuse {

// Where a channel of the result comes from.
struct ChannelFrom {
  size_t input;
  int64_t channel;
};

class ChannelPicks {
 public:
  // One for each channel of the output. An input may be the output itself: a block that takes nothing but its own lanes is left alone.
  ChannelPicks(std::vector<Value> inputs, Value output, const std::vector<ChannelFrom>& channels, const KernelTable& kernels);
  // Whether all of them lie in blocks of float32.
  static bool CanRead(const std::vector<Value>& inputs, const Value& output);

  void Run(const RunState& run) const;

 private:
  struct Source {
    size_t input;
    int64_t at;  // elements from the first channel's
  };
  // A vector of the output.
  struct Picked {
    int64_t plane, lane;
    std::vector<Source> sources;
    std::vector<int32_t> lanes;
  };

  std::vector<Value> inputs_;
  Value output_;
  std::vector<Picked> picked_;
  void (*pick_)(const PickedLanes& picked);
  int64_t rows_ = 1;  // of a share, one after the other in memory
};

}  // namespace repfuse
