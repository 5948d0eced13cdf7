#include "bias_terms.h"

#include <algorithm>
#include <utility>

namespace repfuse::fuse {

BiasTerms::BiasTerms(const FuseTask& task) {
  for (const FuseBias& bias : task.biases) terms_.push_back(Carry(task, bias));
}

BiasTerms::Term BiasTerms::Carry(const FuseTask& task, const FuseBias& bias) {
  const int64_t end = bias.begin + static_cast<int64_t>(bias.constants.size());
  Term term{nullptr, {bias.begin, end}, {bias.constants.begin(), bias.constants.end()}};
  std::vector<Span> seen{{0, task.out_channels}};  // channels of each map that the next one towards the output looks at
  for (size_t i : bias.factors) seen.push_back(Reach(task.factors[i], seen.back()));
  for (size_t k = bias.factors.size(); k-- > 1;) {
    term.factor = &task.factors[bias.factors[k]];
    const int64_t first = std::max(seen[k].begin, term.factor->out_begin);
    const int64_t last = std::max(first, std::min(seen[k].end, term.factor->out_begin + term.factor->out_channels));
    std::vector<double> values;
    for (int64_t channel = first; channel < last; ++channel) values.push_back(TermRow(term, channel - term.factor->out_begin));
    term = {nullptr, {first, last}, std::move(values)};
  }
  if (!bias.factors.empty()) term.factor = &task.factors[bias.factors[0]];
  return term;
}

// What output channel `o` of the term's factor (counted within it) yields for the constants.
double BiasTerms::TermRow(const Term& term, int64_t o) {
  const FuseFactor& f = *term.factor;
  const int64_t begin = f.in_begin + o / (f.out_channels / f.groups) * f.in_per_group;
  const int64_t first = std::max(begin, term.channels.begin), last = std::min(begin + f.in_per_group, term.channels.end);
  const auto constant_of = [&](int64_t channel) { return term.values[static_cast<size_t>(channel - term.channels.begin)]; };
  double sum = 0;
  if (f.type == FuseType::kConstant) {
    for (int64_t channel = first; channel < last; ++channel) sum += f.value * static_cast<double>(Taps(f)) * constant_of(channel);
    return ScaleAt(f, o) * sum;
  }
  WithReader(f, [&](auto read) {
    for (int64_t channel = first; channel < last; ++channel) {
      const double constant = constant_of(channel);
      const int64_t base = o * RowSize(f) + (channel - begin) * Taps(f);
      for (int64_t t = 0; t < Taps(f); ++t) sum += read(base + t) * constant;
    }
  });
  return ScaleAt(f, o) * sum;
}

double BiasTerms::At(int64_t row) const {
  double sum = 0;
  for (const Term& term : terms_) {
    if (term.factor == nullptr) {
      if (row >= term.channels.begin && row < term.channels.end) sum += term.values[static_cast<size_t>(row - term.channels.begin)];
    } else if (row >= term.factor->out_begin && row < term.factor->out_begin + term.factor->out_channels) {
      sum += TermRow(term, row - term.factor->out_begin);
    }
  }
  return sum;
}

}  // namespace repfuse::fuse
