#include "text/byte_stream.h"

#include "base/utf8.h"

namespace recurlm {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

}  // namespace

std::string ByteStream::feed(std::string_view bytes) {
  held_.append(bytes);
  std::string text;
  std::size_t at = 0;
  while (at < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(at);
    const Utf8Part part = utf8_part(rest);
    if (part.kind == Utf8Part::Kind::cut) break;
    text.append(part.kind == Utf8Part::Kind::whole ? rest.substr(0, part.length) : replacement);
    at += part.length;
  }
  held_.erase(0, at);
  return text;
}

std::string ByteStream::finish() {
  const bool cut = !held_.empty();
  held_.clear();
  return std::string(cut ? replacement : std::string_view());
}

}  // namespace recurlm
