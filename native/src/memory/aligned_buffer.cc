#include "repfuse/aligned_buffer.h"

#include <cstdint>
#include <cstdlib>

namespace repfuse {
namespace {
constexpr size_t kAlignment = 64;
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

bool AlignedBuffer::Allocate(size_t bytes) {
  std::free(std::exchange(data_, nullptr));
  bytes_ = 0;
  if (bytes > SIZE_MAX - kAlignment) return false;
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  data_ = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (data_ == nullptr) return false;
  bytes_ = bytes;
  return true;
}

}  // namespace repfuse
