// The contents of a file as the system's own pages: what many processes open is in memory once, and opening reads nothing.
#pragma once

#include <string>
#include <string_view>

namespace recurlm {

class MappedFile {
 public:
  // std::system_error where the system says no, or `path` is no regular file. Who changes a file that is open should write a new one
  // and rename it: what is cut off from an open one is gone, and reading it ends the process.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

}  // namespace recurlm
