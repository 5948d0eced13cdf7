#include "factor.h"

#include <algorithm>

namespace repfuse::fuse {

Span RowChannels(const FuseTask& task, int64_t row) {
  const int64_t begin = row / (task.out_channels / task.groups) * task.in_per_group;
  return {begin, begin + task.in_per_group};
}

Span Reach(const FuseFactor& f, Span out) {
  const int64_t begin = std::max(out.begin, f.out_begin), end = std::min(out.end, f.out_begin + f.out_channels);
  if (begin >= end) return {};
  const int64_t per_group = f.out_channels / f.groups;
  const int64_t first = (begin - f.out_begin) / per_group, last = (end - 1 - f.out_begin) / per_group;
  return {f.in_begin + first * f.in_per_group, f.in_begin + (last + 1) * f.in_per_group};
}

}  // namespace repfuse::fuse
