#include "files/json_reader.h"

#include <charconv>

#include "base/utf8.h"

namespace recurlm {

namespace {

constexpr int most_levels = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

void JsonReader::fail(const std::string& what) const {
  throw FormatError(what + ", at byte " + std::to_string(at_));
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
}

char JsonReader::peek_character() {
  skip_space();
  if (at_ == text_.size()) fail("the JSON ends too early");
  return text_[at_];
}

JsonReader::Kind JsonReader::peek() {
  switch (const char c = peek_character()) {
    case 'n': return Kind::null;
    case 't':
    case 'f': return Kind::boolean;
    case '"': return Kind::string;
    case '[': return Kind::array;
    case '{': return Kind::object;
    default:
      if (c != '-' && !is_digit(c)) fail("expected a JSON value");
      return Kind::number;
  }
}

void JsonReader::expect(std::string_view word, const char* what) {
  peek_character();
  if (text_.substr(at_, word.size()) != word) fail(std::string("expected ") + what);
  at_ += word.size();
}

void JsonReader::null() { expect("null", "null"); }

bool JsonReader::boolean() {
  const bool value = peek_character() == 't';
  expect(value ? "true" : "false", "true or false");
  return value;
}

std::string_view JsonReader::number() {
  if (peek() != Kind::number) fail("expected a number");
  const std::size_t start = at_;
  const auto digits = [&] {
    const std::size_t first = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == first) fail("expected a digit");
    return at_ - first;
  };
  const auto follows = [&](char c) { return at_ < text_.size() && text_[at_] == c; };
  if (follows('-')) ++at_;
  const bool zero = follows('0');
  if (digits() > 1 && zero) fail("a number must not begin with 0");
  if (follows('.')) {
    ++at_;
    digits();
  }
  if (follows('e') || follows('E')) {
    ++at_;
    if (follows('+') || follows('-')) ++at_;
    digits();
  }
  return text_.substr(start, at_ - start);
}

index JsonReader::integer(index least, index most) {
  const std::string_view token = number();
  index value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error != std::errc() || end != token.data() + token.size() || value < least || value > most)
    fail("expected an integer from " + std::to_string(least) + " to " + std::to_string(most) + ", got " + shortened(token));
  return value;
}

std::string JsonReader::string() {
  if (peek_character() != '"') fail("expected a string");
  ++at_;
  std::string value;
  for (;;) {
    if (at_ == text_.size()) fail("a string does not end");
    const char c = text_[at_];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) fail("a string holds a control character");
    if (c == '\\')
      append_escape(value);
    else
      append_character(value);
  }
  ++at_;
  return value;
}

void JsonReader::append_character(std::string& to) {
  const Utf8Part part = utf8_part(text_.substr(at_));
  if (part.kind != Utf8Part::Kind::whole) fail("a string is not valid UTF-8");
  to.append(text_.substr(at_, part.length));
  at_ += part.length;
}

void JsonReader::append_escape(std::string& to) {
  constexpr std::string_view from = "\"\\/bfnrt", into = "\"\\/\b\f\n\r\t";
  if (++at_ == text_.size()) fail("a string does not end");
  const char c = text_[at_++];
  if (const std::size_t known = from.find(c); known != std::string_view::npos) {
    to.push_back(into[known]);
    return;
  }
  if (c != 'u') fail("a string holds an unknown escape");
  std::uint32_t code = hex4();
  if (code >= 0xDC00 && code < 0xE000) fail("a string holds half a surrogate pair");
  if (code >= 0xD800 && code < 0xDC00) {
    if (text_.substr(at_, 2) != "\\u") fail("a string holds half a surrogate pair");
    at_ += 2;
    const std::uint32_t low = hex4();
    if (low < 0xDC00 || low >= 0xE000) fail("a string holds half a surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  append_utf8(code, to);
}

std::uint32_t JsonReader::hex4() {
  std::uint32_t code = 0;
  const std::string_view digits = text_.substr(at_, 4);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4) fail("\\u must be followed by four digits");
  at_ += 4;
  return code;
}

bool JsonReader::open(char opening, char closing) {
  if (peek_character() != opening) fail(opening == '{' ? "expected an object" : "expected a list");
  if (++depth_ > most_levels) fail("there are more than " + std::to_string(most_levels) + " levels");
  ++at_;
  if (peek_character() != closing) return true;
  ++at_;
  return false;
}

bool JsonReader::next(char closing) {
  const char c = peek_character();
  if (c != ',' && c != closing) fail(closing == '}' ? "expected , or }" : "expected , or ]");
  ++at_;
  return c == ',';
}

void JsonReader::colon() {
  if (peek_character() != ':') fail("expected :");
  ++at_;
}

void JsonReader::skip() {
  switch (peek()) {
    case Kind::null: return null();
    case Kind::boolean: boolean(); return;
    case Kind::number: number(); return;
    case Kind::string: string(); return;
    case Kind::array: return array([&] { skip(); });
    case Kind::object: return object([&](std::string_view) { skip(); });
  }
}

void JsonReader::end() {
  skip_space();
  if (at_ != text_.size()) fail("something follows the JSON value");
}

std::size_t Fields::take(std::string_view key) {
  std::size_t place = 0;
  for (const std::string_view name : names_) {
    if (name == key) {
      if (taken_ >> place & 1) reader_.fail("the field \"" + shortened(key) + "\" is there twice");
      taken_ |= std::uint64_t{1} << place;
      return place;
    }
    ++place;
  }
  reader_.fail("the field \"" + shortened(key) + "\" is not known");
}

bool Fields::taken(std::string_view name) const {
  return taken_ >> (std::find(names_.begin(), names_.end(), name) - names_.begin()) & 1;
}

void Fields::require(std::initializer_list<std::string_view> needed) const {
  for (const std::string_view name : needed)
    if (!taken(name)) reader_.fail("the field \"" + std::string(name) + "\" is missing");
}

void Fields::require_all() const {
  for (const std::string_view name : names_) require({name});
}

void Fields::require_only(std::initializer_list<std::string_view> allowed) const {
  for (const std::string_view name : names_)
    if (taken(name) && std::find(allowed.begin(), allowed.end(), name) == allowed.end())
      reader_.fail("the field \"" + std::string(name) + "\" does not belong here");
}

}  // namespace recurlm
