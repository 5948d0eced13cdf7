// Aligned, recycled memory.
#include "repfuse/aligned_buffer.h"
#include "repfuse/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace repfuse {
namespace {

TEST(AlignedBufferTest, AlignedAndWritableAtEverySize) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{32767}, size_t{32768}, size_t{65537}, size_t{5} << 20}) {
    AlignedBuffer buffer;
    ASSERT_TRUE(buffer.Allocate(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    EXPECT_EQ(buffer.bytes(), bytes);
    std::memset(buffer.data(), 0xab, bytes);
  }
}

TEST(AlignedBufferTest, ALargeBlockIsRecycledAndNeverHeldTwice) {
  AlignedBuffer first;
  ASSERT_TRUE(first.Allocate(1 << 20));
  void* const data = first.data();
  first = AlignedBuffer();  // moved out: the temporary frees it
  AlignedBuffer second, third;
  ASSERT_TRUE(second.Allocate((1 << 20) - 1000));
  ASSERT_TRUE(third.Allocate(1 << 20));
  EXPECT_EQ(second.data(), data);
  EXPECT_NE(third.data(), data);
}

TEST(AlignedBufferTest, SmallRequestsDoNotTakeHugeBlocks) {
  {
    AlignedBuffer huge;
    ASSERT_TRUE(huge.Allocate(size_t{32} << 20));
  }
  AlignedBuffer small;
  ASSERT_TRUE(small.Allocate(1 << 16));
  AlignedBuffer again;
  ASSERT_TRUE(again.Allocate(size_t{31} << 20));
  EXPECT_NE(small.data(), again.data());
}

TEST(AlignedBufferTest, WhatCannotExistIsRefused) {
  AlignedBuffer buffer;
  EXPECT_FALSE(buffer.Allocate(SIZE_MAX));
  EXPECT_FALSE(buffer.Allocate(size_t{1} << 62));
  EXPECT_EQ(buffer.data(), nullptr);
  EXPECT_TRUE(buffer.Allocate(10));
}

TEST(HugePagesTest, AHintChangesNothing) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, size_t{2} << 20, (size_t{9} << 20) + 5}) {
    std::vector<uint8_t> memory(bytes, 7);
    AdviseHugePages(memory.data(), memory.size());
    EXPECT_TRUE(std::all_of(memory.begin(), memory.end(), [](uint8_t value) { return value == 7; }));
  }
}

}  // namespace
}  // namespace repfuse
