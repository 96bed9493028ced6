// A list of parameters of any sizes seen as one run of blocks of 4,096 elements, so that threads share it evenly and sums are
// cut at the same places whatever their number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/views.h"
#include "cpu/threads.h"

namespace recurlm {

constexpr index parameter_block = 4096;

// The elements of an array that matter: all of them, or some distinct rows.
struct Elements {
  index count;
  const std::int32_t* rows = nullptr;  // null: all
  index width = 0;                     // of a row

  // visit(offset, count): elements [first, first + length) of them, in order, as runs that are contiguous in the array.
  template <typename Visit>
  void for_runs(index first, index length, Visit&& visit) const {
    if (!rows) return visit(first, length);
    for (const index end = first + length; first < end;) {
      const index column = first % width, run = std::min(width - column, end - first);
      visit(rows[first / width] * width + column, run);
      first += run;
    }
  }
};

class ParameterBlocks {
 public:
  explicit ParameterBlocks(std::vector<Elements> arrays) : arrays_(std::move(arrays)), begins_(1, 0) {
    for (const Elements& array : arrays_) {
      begins_.push_back(begins_.back() + ceil_div(array.count, parameter_block));
      elements_ += array.count;
    }
  }

  index count() const { return begins_.back(); }
  index elements() const { return elements_; }
  index begin(index array) const { return begins_[static_cast<std::size_t>(array)]; }

  // visit(block, array, offset, count) for the runs of this thread's blocks.
  template <typename Visit>
  void for_share(const Team& team, Visit&& visit) const {
    const Range share = team.share(count());
    index array = 0;
    for (index block = share.begin; block < share.end; ++block) {
      while (begin(array + 1) <= block) ++array;
      const index first = (block - begin(array)) * parameter_block;
      const Elements& all = arrays_[static_cast<std::size_t>(array)];
      all.for_runs(first, std::min(parameter_block, all.count - first),
                   [&](index offset, index count) { visit(block, array, offset, count); });
    }
  }

 private:
  std::vector<Elements> arrays_;
  std::vector<index> begins_;  // one more than arrays
  index elements_ = 0;
};

}  // namespace recurlm
