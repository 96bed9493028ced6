// What is wrong with a file, in a sentence for its reader.
#pragma once

#include <stdexcept>
#include <string>

namespace recurlm {

struct FormatError : std::runtime_error {
  explicit FormatError(const std::string& sentence) : std::runtime_error(sentence) {}
};

}  // namespace recurlm
