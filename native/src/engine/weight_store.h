// The weights of a network: plain until they are packed, and had back from that, so that they lie in memory once.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "packed_weights.h"
#include "select.h"

namespace repfuse {

class WeightStore {
 public:
  // Takes the weights out of the nodes, rounded to the terms that the target keeps of them, on any number of threads.
  WeightStore(Network& network, const Target& target);

  // Each packing of node `index` is made once, and shared by the plans that use it. Null without memory. One thread at a time for each
  // node.
  std::shared_ptr<const PackedWeights> Get(size_t index, const WeightPacking& packing, const ChannelGroups& channels);
  size_t plain_bytes() const;
  size_t packed_bytes() const;

 private:
  struct Packed {
    WeightPacking packing;
    std::weak_ptr<const PackedWeights> weights;
  };
  struct Entry {
    AlignedBuffer plain;
    size_t bytes = 0;  // of the plain weights, wherever they are
    std::vector<Packed> packed;
    // What they can be had back from, once `plain` is gone; Winograd's with their rest.
    std::shared_ptr<const PackedWeights> base;
    WeightPacking base_packing{};
    AlignedBuffer rest;
  };

  const Network& network_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // by node
};

}  // namespace repfuse
