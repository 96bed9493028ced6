// A list of parameters of any sizes seen as one run of blocks of 4,096 elements, so that threads share it evenly and sums are
// cut at the same places whatever their number.
#pragma once

#include <algorithm>
#include <vector>

#include "base/views.h"
#include "cpu/threads.h"

namespace recurlm {

constexpr index parameter_block = 4096;

class ParameterBlocks {
 public:
  ParameterBlocks(index arrays, const index* counts) : counts_(counts, counts + arrays), begins_(1, 0) {
    for (index count : counts_) {
      begins_.push_back(begins_.back() + ceil_div(count, parameter_block));
      elements_ += count;
    }
  }

  index count() const { return begins_.back(); }
  index elements() const { return elements_; }
  index begin(index array) const { return begins_[static_cast<std::size_t>(array)]; }

  // visit(block, array, first element, elements) for this thread's blocks.
  template <typename Visit>
  void for_share(const Team& team, Visit&& visit) const {
    const Range share = team.share(count());
    index array = 0;
    for (index block = share.begin; block < share.end; ++block) {
      while (begin(array + 1) <= block) ++array;
      const index first = (block - begin(array)) * parameter_block;
      visit(block, array, first, std::min(parameter_block, counts_[static_cast<std::size_t>(array)] - first));
    }
  }

 private:
  std::vector<index> counts_;
  std::vector<index> begins_;  // one more than arrays
  index elements_ = 0;
};

}  // namespace recurlm
