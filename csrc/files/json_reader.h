// JSON (RFC 8259), read from front to back: the caller says what it expects next, and nothing is kept that it does not keep. So
// a file can make no more memory be taken than what it is read into. Strict: valid UTF-8, no trailing commas, no duplicate keys of
// a known object (Fields), at most 64 levels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "files/format_error.h"

namespace recurlm {

class JsonReader {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  explicit JsonReader(std::string_view text) : text_(text) {}

  // Of the value that comes next.
  Kind peek();

  void null();
  bool boolean();
  // A number as it is written.
  std::string_view number();
  // An integer from `least` to `most`; a number with a fraction or exponent is none.
  index integer(index least, index most);
  std::string string();

  // member(key) for each, which must read the value.
  template <typename Member>
  void object(Member&& member) {
    for (bool more = open('{', '}'); more; more = next('}')) {
      const std::string key = string();
      colon();
      member(std::string_view(key));
    }
    --depth_;
  }
  // element() for each, which must read it.
  template <typename Element>
  void array(Element&& element) {
    for (bool more = open('[', ']'); more; more = next(']')) element();
    --depth_;
  }
  // Any value.
  void skip();
  // Nothing but white space is left.
  void end();

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void skip_space();
  char peek_character();
  void expect(std::string_view word, const char* what);
  bool open(char opening, char closing);  // whether there is anything inside
  bool next(char closing);                // whether another element follows
  void colon();
  void append_escape(std::string& to);
  void append_character(std::string& to);
  std::uint32_t hex4();

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

// The members that an object must have, each once.
class Fields {
 public:
  Fields(const JsonReader& reader, std::initializer_list<std::string_view> names) : reader_(reader), names_(names) {}

  bool knows(std::string_view key) const { return std::find(names_.begin(), names_.end(), key) != names_.end(); }
  // The place of `key` among the names; fails where it is none of these, or came before.
  std::size_t take(std::string_view key);
  // Fails where one of `needed`, or of all, has not come.
  void require(std::initializer_list<std::string_view> needed) const;
  void require_all() const;
  // Fails where another has come.
  void require_only(std::initializer_list<std::string_view> allowed) const;

 private:
  bool taken(std::string_view name) const;

  const JsonReader& reader_;
  const std::vector<std::string_view> names_;
  std::uint64_t taken_ = 0;
};

}  // namespace recurlm
