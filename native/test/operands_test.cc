// What an operator touches and takes: nothing outside its operands (they lie against pages that may not be touched), and no memory in the
// order of the im2col matrix.
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "isa_levels.h"
#include "repfuse/conv.h"
#include "repfuse/linear.h"

namespace {
std::atomic<size_t> g_allocated{0}, g_allocations{0};
std::atomic<bool> g_fail{false};
}  // namespace

// Takes the place of libc's for the whole program: AlignedBuffer's only source of memory.
extern "C" int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = g_fail.load() ? nullptr : memalign(alignment, bytes);
  if (*memory == nullptr) return ENOMEM;
  g_allocated += bytes;
  ++g_allocations;
  return 0;
}

namespace repfuse {
namespace {

// `count` floats between two forbidden pages, against the one or the other.
class GuardedFloats {
 public:
  GuardedFloats(int64_t count, bool at_end, float value) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), bytes = static_cast<size_t>(count) * sizeof(float);
    const size_t inner = (bytes + page - 1) / page * page;
    size_ = inner + 2 * page;
    memory_ = static_cast<char*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + page, inner, PROT_READ | PROT_WRITE);
    data_ = reinterpret_cast<float*>(memory_ + page + (at_end ? inner - bytes : 0));
    for (int64_t i = 0; i < count; ++i) data_[i] = value;
  }
  ~GuardedFloats() { munmap(memory_, size_); }
  GuardedFloats(const GuardedFloats&) = delete;
  GuardedFloats& operator=(const GuardedFloats&) = delete;

  float* data() const { return data_; }

 private:
  char* memory_;
  size_t size_;
  float* data_;
};

class OperandsTest : public IsaTest {};

TEST_P(OperandsTest, ConvolutionTouchesOnlyItsOperands) {
  for (const bool at_end : {false, true}) {
    for (const int64_t groups : {1, 3}) {
      for (const int64_t in_per_group : {1, 2}) {
        for (const int64_t stride : {1, 2, 3}) {
          for (const int64_t width : {1, 7, 16, 33, 65}) {
            for (const int64_t pad : {-1, 0, 2}) {
              const ConvShape s{.batch = 1,
                                .in_channels = groups * in_per_group,
                                .height = 5,
                                .width = width,
                                .out_channels = groups * 3,
                                .kernel_h = 3,
                                .kernel_w = 3,
                                .stride_h = stride,
                                .stride_w = stride,
                                .pad_top = pad,
                                .pad_left = pad,
                                .pad_bottom = pad,
                                .pad_right = pad,
                                .dilation_h = 1,
                                .dilation_w = 2,
                                .groups = groups};
              if (!CheckConvShape(s).ok()) continue;
              const GuardedFloats x(s.in_channels * 5 * width, at_end, 1), w(s.out_channels * in_per_group * 9, at_end, 1),
                  b(s.out_channels, at_end, 1);
              const GuardedFloats y(s.out_channels * s.out_height() * s.out_width(), at_end, NAN);
              ASSERT_TRUE(Conv2d(s, x.data(), w.data(), b.data(), true, y.data(), 2).ok());
              ASSERT_GE(y.data()[0], 1.0f);
            }
          }
        }
      }
    }
  }
}

TEST_P(OperandsTest, LinearTouchesOnlyItsOperands) {
  for (const bool at_end : {false, true}) {
    for (const int64_t rows : {1, 3, 9}) {
      for (const int64_t in : {1, 15, 33}) {
        for (const int64_t out : {1, 17, 50}) {
          const GuardedFloats x(rows * in, at_end, 1), w(out * in, at_end, 1), b(out, at_end, 1), y(rows * out, at_end, NAN);
          ASSERT_TRUE(Linear({rows, in, out}, x.data(), w.data(), b.data(), false, y.data(), 2).ok());
          ASSERT_EQ(y.data()[rows * out - 1], static_cast<float>(in + 1));
        }
      }
    }
  }
}

TEST_P(OperandsTest, ConvolutionTakesOneBufferOfPanels) {
  const ConvShape s{.batch = 1,
                    .in_channels = 64,
                    .height = 40,
                    .width = 40,
                    .out_channels = 32,
                    .kernel_h = 3,
                    .kernel_w = 3,
                    .stride_h = 1,
                    .stride_w = 1,
                    .pad_top = 1,
                    .pad_left = 1,
                    .pad_bottom = 1,
                    .pad_right = 1,
                    .dilation_h = 1,
                    .dilation_w = 1,
                    .groups = 1};
  const std::vector<float> x(64 * 40 * 40), w(32 * 64 * 9);
  std::vector<float> y(32 * 40 * 40);
  for (const int threads : {1, 2}) {
    g_allocated = g_allocations = 0;
    ASSERT_TRUE(Conv2d(s, x.data(), w.data(), nullptr, false, y.data(), threads).ok());
    EXPECT_LE(g_allocations.load(), 1u);  // none if an earlier call left its buffer
    const size_t im2col_matrix = 64 * 9 * 40 * 40 * sizeof(float);
    EXPECT_LT(g_allocated.load(), im2col_matrix / 8) << "threads " << threads;
  }
}

TEST_P(OperandsTest, WithoutMemoryAStatusAndAnUntouchedResult) {
  const ConvShape s{.batch = 1,
                    .in_channels = 4,
                    .height = 6,
                    .width = 6,
                    .out_channels = 4,
                    .kernel_h = 3,
                    .kernel_w = 3,
                    .stride_h = 1,
                    .stride_w = 1,
                    .pad_top = 1,
                    .pad_left = 1,
                    .pad_bottom = 1,
                    .pad_right = 1,
                    .dilation_h = 1,
                    .dilation_w = 1,
                    .groups = 1};
  const std::vector<float> x(4 * 36), w(4 * 36);
  std::vector<float> y(4 * 36, 5.0f);
  g_fail = true;
  EXPECT_EQ(Conv2d(s, x.data(), w.data(), nullptr, false, y.data(), 2).code, Code::kOutOfMemory);
  EXPECT_EQ(Linear({9, 4, 4}, x.data(), w.data(), nullptr, false, y.data(), 2).code, Code::kOutOfMemory);
  g_fail = false;
  for (float v : y) ASSERT_EQ(v, 5.0f);
}

REPFUSE_FOR_ISAS(OperandsTest);

}  // namespace
}  // namespace repfuse
