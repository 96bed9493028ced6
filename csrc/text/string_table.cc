#include "text/string_table.h"

#include <algorithm>
#include <numeric>

namespace recurlm {

void StringTable::add(std::string_view text) {
  bytes_.append(text);
  ends_.push_back(bytes_.size());
}

bool StringTable::sort() {
  bytes_.shrink_to_fit();
  sorted_.resize(ends_.size());
  std::iota(sorted_.begin(), sorted_.end(), 0);
  std::sort(sorted_.begin(), sorted_.end(), [&](std::int32_t a, std::int32_t b) { return (*this)[a] < (*this)[b]; });
  return std::adjacent_find(sorted_.begin(), sorted_.end(),
                            [&](std::int32_t a, std::int32_t b) { return (*this)[a] == (*this)[b]; }) == sorted_.end();
}

std::string_view StringTable::operator[](index i) const {
  const auto at = static_cast<std::size_t>(i);
  const std::size_t begin = at == 0 ? 0 : ends_[at - 1];
  return std::string_view(bytes_).substr(begin, ends_[at] - begin);
}

std::int32_t StringTable::find(std::string_view text) const {
  const auto found = std::lower_bound(sorted_.begin(), sorted_.end(), text,
                                      [&](std::int32_t a, std::string_view b) { return (*this)[a] < b; });
  return found != sorted_.end() && (*this)[*found] == text ? *found : -1;
}

}  // namespace recurlm
