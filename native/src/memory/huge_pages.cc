#include "repfuse/huge_pages.h"

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace repfuse {

void AdviseHugePages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const size_t before = -reinterpret_cast<uintptr_t>(data) % kPage;  // bytes up to the first whole page
  if (before < bytes && bytes - before >= kPage) {
    madvise(static_cast<char*>(data) + before, (bytes - before) / kPage * kPage, MADV_HUGEPAGE);
  }
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace repfuse
