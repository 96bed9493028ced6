#include "infer/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/random.h"

namespace recurlm {

namespace {

// exp(-reach) is 0 in double for anything further below the maximum.
constexpr double first_reach = 8, last_reach = 800;

// A block and then a token in it, each by its part of the sum.
std::int32_t draw_unfiltered(const SoftmaxRow& row, const SoftmaxTotal& total, double u) {
  const auto relative = [&](double logit) { return std::exp(row.scale * (logit - total.maximum)); };
  double left = u * total.sum;
  std::int32_t last = total.at;
  for (index b = 0; b < row.block_count(); ++b) {
    const double mass = static_cast<double>(row.blocks[b].sum) * relative(static_cast<double>(row.blocks[b].maximum));
    if (mass <= left && b + 1 < row.block_count()) {
      left -= mass;
      continue;
    }
    const index end = std::min(row.classes, (b + 1) * block_classes);
    for (index v = b * block_classes; v < end; ++v) {
      const double p = relative(static_cast<double>(row.logits[v]));
      if (!(p > 0)) continue;
      last = static_cast<std::int32_t>(v);
      if ((left -= p) < 0) return last;
    }
    return last;  // the block's sum was rounded up
  }
  return last;
}

// By probability, equal ones by descending id: the greatest is drawn first from a heap.
bool behind(const Candidate& a, const Candidate& b) {
  return a.probability != b.probability ? a.probability < b.probability : a.id > b.id;
}

// The tokens at most `reach` below the maximum, and their sum.
struct Near {
  Candidate* candidates;
  index count = 0;
  double sum = 0;

  Near(const SoftmaxRow& row, double maximum, double reach, Candidate* room) : candidates(room) {
    const double least = maximum - reach / row.scale;
    for (index b = 0; b < row.block_count(); ++b) {
      if (static_cast<double>(row.blocks[b].maximum) < least) continue;
      for (index v = b * block_classes; v < std::min(row.classes, (b + 1) * block_classes); ++v) {
        const auto logit = static_cast<double>(row.logits[v]);
        if (logit < least) continue;
        room[count++] = {std::exp(row.scale * (logit - maximum)), static_cast<std::int32_t>(v)};
        sum += room[count - 1].probability;
      }
    }
  }
};

// Tokens far below the maximum are looked at only where those near it are too few for the filters.
Near near_enough(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, Candidate* room) {
  for (double reach = first_reach;; reach *= 10) {
    const Near near(row, total.maximum, reach, room);
    const bool enough = sampling.top_k > 0 ? near.count >= sampling.top_k
                                           : near.sum >= sampling.top_p * total.sum || std::exp(-reach) < sampling.min_p;
    if (enough || reach >= last_reach) return near;
  }
}

// Candidates leave a heap in descending order only as far as the filters let them; the k-th stands k places before the end.
std::int32_t draw_filtered(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, double u,
                           Candidate* room) {
  const Near near = near_enough(sampling, row, total, room);
  Candidate *begin = near.candidates, *end = begin + near.count, *heap_end = end;
  std::make_heap(begin, end, behind);
  const auto take = [&] {
    std::pop_heap(begin, heap_end, behind);
    return (--heap_end)->probability;
  };
  double mass = total.sum;
  if (sampling.top_k > 0) {  // top_p is a share of what top_k leaves
    mass = 0;
    for (index k = std::min(sampling.top_k, near.count); k > 0; --k) mass += take();
    begin = heap_end;
    std::make_heap(begin, heap_end = end, behind);
  }
  const double share = sampling.top_p < 1 ? sampling.top_p * mass : std::numeric_limits<double>::infinity();
  double sum = take();
  for (const double least = sampling.min_p * sum; heap_end > begin && sum < share;) {
    const double next = take();
    if (next < least) {
      ++heap_end;
      break;
    }
    sum += next;
  }
  double reached = 0;
  for (const Candidate* kept = end; kept > heap_end;)
    if ((reached += (--kept)->probability) > u * sum) return kept->id;
  return (end - 1)->id;
}

}  // namespace

void penalise(const Sampling& sampling, index classes, const std::uint8_t* seen, const std::uint16_t* drawn, float* logits) {
  const auto factor = static_cast<float>(sampling.repetition_penalty), inverse = static_cast<float>(1 / sampling.repetition_penalty);
  const auto presence = static_cast<float>(sampling.presence_penalty), frequency = static_cast<float>(sampling.frequency_penalty);
  for (index v = 0; v < classes; ++v) {
    if (!seen[v]) continue;
    logits[v] *= logits[v] > 0 ? inverse : factor;
    if (drawn[v]) logits[v] -= presence + frequency * static_cast<float>(drawn[v]);
  }
}

std::int32_t draw(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, double u, Candidate* room) {
  if (sampling.temperature == 0.0) return total.at;
  return sampling.filters() ? draw_filtered(sampling, row, total, u, room) : draw_unfiltered(row, total, u);
}

double uniform(std::uint64_t seed, std::uint32_t stream, std::uint64_t position) {
  constexpr std::uint32_t purpose = 0x53414d50;  // keeps these draws apart from dropout's
  const Counter random = philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), stream,
                                 purpose}, seed);
  const std::uint64_t bits = (std::uint64_t{random[0]} << 21) ^ random[1];
  return static_cast<double>(bits & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
}

}  // namespace recurlm
