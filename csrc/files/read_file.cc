#include "files/read_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace recurlm {

std::string read_file(const std::string& path) {
  const auto fail = [&](std::errc why) { throw std::system_error(std::make_error_code(why), path); };
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) fail(std::errc::no_such_file_or_directory);
  if (error) throw std::system_error(error, path);
  if (status.type() == std::filesystem::file_type::directory) fail(std::errc::is_a_directory);
  if (status.type() != std::filesystem::file_type::regular) fail(std::errc::invalid_argument);  // a pipe would never end
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw std::system_error(error, path);
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(std::errc::permission_denied);
  std::string bytes(size, '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) fail(std::errc::io_error);
  return bytes;
}

}  // namespace recurlm
