// The weights of a network: plain until a form is packed from which they can be had back, so that they lie in memory once where they can.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "packed_weights.h"

namespace repfuse {

class WeightStore {
 public:
  // Takes the weights out of the nodes, rounded to the terms that the options keep of them.
  WeightStore(Network& network, const EngineOptions& options, const KernelTable& kernels);

  // Each form is packed once, and shared by the plans that use it. Null without memory. One thread at a time for each node.
  std::shared_ptr<const PackedWeights> Get(size_t node, const WeightForm& form, const ChannelGroups& channels);
  size_t plain_bytes() const;
  size_t packed_bytes() const;

 private:
  struct Packed {
    WeightForm form;
    std::weak_ptr<const PackedWeights> weights;
  };
  struct Entry {
    AlignedBuffer plain;
    size_t bytes = 0;  // of the plain weights, wherever they are
    std::vector<Packed> packed;
    // What they can be had back from, once `plain` is gone.
    std::shared_ptr<const PackedWeights> base;
    WeightForm base_form{};
  };

  const Network& network_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // by node
};

}  // namespace repfuse
