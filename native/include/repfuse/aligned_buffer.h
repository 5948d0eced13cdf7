// Owned memory, 64-byte aligned, that reports failure instead of throwing. Large blocks are recycled between calls.
#pragma once

#include <cstddef>
#include <utility>

namespace repfuse {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept { Swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    Swap(other);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  // Replaces the content with `bytes` uninitialised bytes; false when there is no memory.
  bool Allocate(size_t bytes);

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void Release();
  void Swap(AlignedBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(capacity_, other.capacity_);
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
  size_t capacity_ = 0;
};

// Gives the memory of freed blocks back to the system: what is kept for the next call, and what the allocator keeps.
void ReturnFreedMemory();

}  // namespace repfuse
