#include "base/utf8.h"

namespace recurlm {

namespace {

unsigned byte_at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }

bool in(unsigned value, unsigned first, unsigned last) { return value >= first && value <= last; }

}  // namespace

Utf8Part utf8_part(std::string_view text) {
  const unsigned lead = byte_at(text, 0);
  if (lead < 0x80) return {Utf8Part::Kind::whole, 1};
  const std::size_t length = in(lead, 0xC2, 0xDF) ? 2 : in(lead, 0xE0, 0xEF) ? 3 : in(lead, 0xF0, 0xF4) ? 4 : 0;
  if (length == 0) return {Utf8Part::Kind::broken, 1};
  // The second byte excludes overlong forms, surrogates and what is above the last code point.
  const unsigned least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Part::Kind::cut, i};
    if (!(i == 1 ? in(byte_at(text, i), least, most) : in(byte_at(text, i), 0x80, 0xBF))) return {Utf8Part::Kind::broken, i};
  }
  return {Utf8Part::Kind::whole, length};
}

std::uint32_t utf8_code(std::string_view character) {
  const std::size_t length = character.size();
  std::uint32_t code = byte_at(character, 0) & (length == 1 ? 0x7Fu : 0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte_at(character, i) & 0x3Fu);
  return code;
}

void append_utf8(std::uint32_t code, std::string& to) {
  const auto tail = [&](int shift) { to.push_back(static_cast<char>(0x80 | (code >> shift & 0x3F))); };
  if (code < 0x80) {
    to.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    to.push_back(static_cast<char>(0xC0 | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    to.push_back(static_cast<char>(0xE0 | code >> 12));
    tail(6);
    tail(0);
  } else {
    to.push_back(static_cast<char>(0xF0 | code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string shortened(std::string_view text) {
  constexpr std::size_t most = 60;
  std::size_t end = text.size();
  if (end > most) {
    end = 0;
    for (std::size_t next = 0; next <= most; next += utf8_part(text.substr(next)).length) end = next;
  }
  std::string shown(text.substr(0, end));
  for (char& c : shown)
    if (in(static_cast<unsigned char>(c), 0, 0x1F) || c == 0x7F) c = ' ';
  return end < text.size() ? shown + "..." : shown;
}

bool is_space(std::uint32_t code) {
  return in(code, 0x09, 0x0D) || in(code, 0x1C, 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         in(code, 0x2000, 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace recurlm
