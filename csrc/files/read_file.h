// The contents of a file.
#pragma once

#include <string>

namespace recurlm {

// std::system_error where the system says no, or `path` is no regular file.
std::string read_file(const std::string& path);

}  // namespace recurlm
