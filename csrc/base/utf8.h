// UTF-8, as table 3-7 of the Unicode standard defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace recurlm {

// What a text, not empty, begins with: a whole character; the beginning of one, cut off by the end of the text; or the beginning of
// one that something else follows, as long as it is right (a byte at least), which one U+FFFD replaces.
struct Utf8Part {
  enum class Kind { whole, cut, broken };
  Kind kind;
  std::size_t length;
};
Utf8Part utf8_part(std::string_view text);

// The code point of a whole character.
std::uint32_t utf8_code(std::string_view character);

void append_utf8(std::uint32_t code, std::string& to);

// At most some 60 bytes of a text in UTF-8, for a message of one line.
std::string shortened(std::string_view text);

// As Python's str.isspace and split see it.
bool is_space(std::uint32_t code);

}  // namespace recurlm
