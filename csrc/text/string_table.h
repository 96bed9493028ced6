// Many short texts in one piece of memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace recurlm {

class StringTable {
 public:
  void add(std::string_view text);
  // After the last: find works from now on. False where two are equal.
  bool sort();

  index size() const { return static_cast<index>(ends_.size()); }
  std::string_view operator[](index i) const;
  // -1 where there is none.
  std::int32_t find(std::string_view text) const;

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;
  std::vector<std::int32_t> sorted_;
};

}  // namespace recurlm
