#include "files/mapped_file.h"

#include <filesystem>
#include <system_error>

#ifdef _WIN32
#include <fstream>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#endif

// Linux maps all pages at once where it can, which for 20 MB takes 1 ms, and as faults one after another 8.
#ifndef MAP_POPULATE
#define MAP_POPULATE 0
#endif

namespace recurlm {

namespace {

std::size_t size_of_regular(const std::string& name) {
  const std::filesystem::path path = std::filesystem::u8path(name);
  const auto fail = [&](std::errc why) { throw std::system_error(std::make_error_code(why), name); };
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) fail(std::errc::no_such_file_or_directory);
  if (error) throw std::system_error(error, name);
  if (status.type() == std::filesystem::file_type::directory) fail(std::errc::is_a_directory);
  if (status.type() != std::filesystem::file_type::regular) fail(std::errc::invalid_argument);  // a pipe would never end
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw std::system_error(error, name);
  return size;
}

}  // namespace

#ifdef _WIN32  // read, not shared

MappedFile::MappedFile(const std::string& path) {
  const std::size_t size = size_of_regular(path);
  std::ifstream file(std::filesystem::u8path(path), std::ios::binary);
  if (!file) throw std::system_error(std::make_error_code(std::errc::permission_denied), path);
  char* data = new char[size];
  bytes_ = {data, size};
  if (file.read(data, static_cast<std::streamsize>(size))) return;
  delete[] data;
  throw std::system_error(std::make_error_code(std::errc::io_error), path);
}

MappedFile::~MappedFile() { delete[] bytes_.data(); }

#else

MappedFile::MappedFile(const std::string& path) {
  const std::size_t size = size_of_regular(path);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw std::system_error(errno, std::generic_category(), path);
  void* data = size == 0 ? nullptr : mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);  // nothing cannot be mapped
  const int why = errno;
  close(file);
  if (data == MAP_FAILED) throw std::system_error(why, std::generic_category(), path);
  bytes_ = {static_cast<const char*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

#endif

}  // namespace recurlm
