#include "repfuse/aligned_buffer.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "repfuse/huge_pages.h"

namespace repfuse {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMin = 1 << 15;  // smaller blocks are the allocator's business
constexpr size_t kGranularity = 1 << 16;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr int kSlots = 32;
constexpr size_t kMaxKept = size_t{64} << 20;

size_t RoundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// Unlike std::aligned_alloc, for sizes that are no multiple of the alignment.
void* AllocateAligned(size_t alignment, size_t bytes) {
  void* data = nullptr;
  return posix_memalign(&data, alignment, bytes) == 0 ? data : nullptr;
}

// Freed blocks, kept for the next call: fresh pages cost more than the work that a small convolution does in them.
// Bounded in number and bytes; a block beyond that goes back to the system.
class BlockCache {
 public:
  // A block of at least `bytes` and at most twice that, or null.
  void* Acquire(size_t bytes, size_t* capacity) {
    std::lock_guard lock(mutex_);
    Block* best = nullptr;
    for (Block& block : blocks_) {
      if (block.data != nullptr && block.bytes >= bytes && block.bytes <= 2 * bytes && (best == nullptr || block.bytes < best->bytes))
        best = &block;
    }
    if (best == nullptr) return nullptr;
    kept_ -= best->bytes;
    *capacity = best->bytes;
    return std::exchange(best->data, nullptr);
  }

  // Whether the block was kept.
  bool Keep(void* data, size_t bytes) {
    std::lock_guard lock(mutex_);
    if (kept_ + bytes > kMaxKept) return false;
    for (Block& block : blocks_) {
      if (block.data != nullptr) continue;
      block = {data, bytes};
      kept_ += bytes;
      return true;
    }
    return false;
  }

  void Clear() {
    std::lock_guard lock(mutex_);
    for (Block& block : blocks_) std::free(std::exchange(block.data, nullptr));
    kept_ = 0;
  }

 private:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };

  std::mutex mutex_;
  Block blocks_[kSlots];
  size_t kept_ = 0;
};

BlockCache& Cache() {
  static BlockCache* const cache = new BlockCache;  // leaked: a pool thread may free a block while the process exits
  return *cache;
}

}  // namespace

void ReturnFreedMemory() {
  Cache().Clear();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

AlignedBuffer::~AlignedBuffer() { Release(); }

void AlignedBuffer::Release() {
  if (data_ != nullptr && (capacity_ < kMin || !Cache().Keep(data_, capacity_))) std::free(data_);
  data_ = nullptr;
  bytes_ = capacity_ = 0;
}

bool AlignedBuffer::Allocate(size_t bytes) {
  Release();
  if (bytes > SIZE_MAX / 2) return false;
  if (bytes >= kMin) data_ = Cache().Acquire(bytes, &capacity_);
  if (data_ == nullptr) {
    capacity_ = RoundUp(bytes + (bytes == 0), bytes < kMin ? kAlignment : kGranularity);
    data_ = AllocateAligned(bytes < kHugePage ? kAlignment : kHugePage, capacity_);
    if (data_ == nullptr) return false;
    AdviseHugePages(data_, capacity_);
  }
  bytes_ = bytes;
  return true;
}

}  // namespace repfuse
