#include "weight_store.h"

#include <utility>

#include "operators/operator.h"
#include "winograd_error.h"

namespace repfuse {

WeightStore::WeightStore(Network& network, const Target& target) : network_(network), entries_(network.nodes.size()) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    NetworkNode& node = network.nodes[i];
    const int terms = KeptTerms(node, target);
    if (node.op->is_convolution() && node.kernel_h == 3 && node.kernel_w == 3 && node.weight_count > 0)
      node.winograd_errors = ExpectWinogradErrors(node.weight.as<float>(), node.weight_count / 9);
    if (terms > 0) RoundToTerms(node.weight.as<float>(), node.weight_count, terms);
    entries_[i].plain = std::move(node.weight);
    entries_[i].bytes = entries_[i].plain.bytes();
  }
}

std::shared_ptr<const PackedWeights> WeightStore::Get(size_t index, const WeightPacking& packing, const ChannelGroups& channels) {
  Entry& entry = entries_[index];
  const NetworkNode& node = network_.nodes[index];
  {
    std::lock_guard lock(mutex_);
    for (const Packed& known : entry.packed) {
      if (!(known.packing == packing)) continue;
      if (auto weights = known.weights.lock()) return weights;
    }
  }
  AlignedBuffer restored;
  const float* plain = entry.plain.as<float>();
  if (entry.base != nullptr) {
    if (!restored.Allocate(entry.bytes)) return nullptr;
    UnpackWeights(node, *entry.base, channels, entry.base_packing, entry.rest, restored.as<float>());
    plain = restored.as<float>();
  }
  auto packed = std::make_shared<PackedWeights>();
  if (!PackWeights(node, plain, channels, packing, packed.get())) return nullptr;
  // Kept in the new order, where that is no larger than what is kept so far.
  AlignedBuffer rest;
  const bool winograd = IsWinograd(packing.method), had = entry.base != nullptr;
  const bool alone = had && entry.base.use_count() == 1;  // no plan uses what is kept
  const bool better = !had || alone || (IsWinograd(entry.base_packing.method) && !winograd);
  const bool keeps = better && packed->exact && (!winograd || RestOfWeights(node, plain, channels, packing, *packed, &rest));
  std::lock_guard lock(mutex_);
  if (keeps) {
    entry.base = packed;
    entry.base_packing = packing;
    entry.rest = std::move(rest);
    entry.plain = AlignedBuffer();
  }
  std::erase_if(entry.packed, [](const Packed& known) { return known.weights.expired(); });
  entry.packed.push_back({packing, packed});
  return packed;
}

size_t WeightStore::plain_bytes() const {
  std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const Entry& entry : entries_) sum += entry.plain.bytes() + entry.rest.bytes();
  return sum;
}

size_t WeightStore::packed_bytes() const {
  std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const Entry& entry : entries_) {
    for (const Packed& packed : entry.packed) {
      if (const auto weights = packed.weights.lock()) sum += weights->bytes();
    }
  }
  return sum;
}

}  // namespace repfuse
