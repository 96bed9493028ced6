#include "text/simple_tokenizers.h"

#include <algorithm>
#include <cstdio>

#include "base/utf8.h"
#include "text/byte_stream.h"

namespace recurlm {

namespace {

// visit(code, character, number of characters before it) for each of a text; TextError where it is not UTF-8.
template <typename Visit>
void for_each_character(std::string_view text, Visit&& visit) {
  index position = 0;
  for (std::size_t at = 0; at < text.size(); ++position) {
    const Utf8Part part = utf8_part(text.substr(at));
    if (part.kind != Utf8Part::Kind::whole) throw TextError("byte " + std::to_string(at) + " of the text is not UTF-8");
    const std::string_view character = text.substr(at, part.length);
    visit(utf8_code(character), character, position);
    at += part.length;
  }
}

std::string hexadecimal(std::uint32_t code) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "U+%04X", static_cast<unsigned>(code));
  return digits;
}

// Every id but <bos> has a text of its own.
class CharDecoder : public Tokenizer::Decoder {
 public:
  explicit CharDecoder(const std::vector<std::uint32_t>& characters) : characters_(characters) {}
  std::string feed(std::int32_t id) override {
    std::string text;
    if (id > 0) append_utf8(characters_[static_cast<std::size_t>(id) - 1], text);
    return text;
  }

 private:
  const std::vector<std::uint32_t>& characters_;
};

class ByteDecoder : public Tokenizer::Decoder {
 public:
  std::string feed(std::int32_t id) override {
    const char byte = static_cast<char>(id);
    return stream_.feed(id < 256 ? std::string_view(&byte, 1) : std::string_view());
  }
  std::string finish() override { return stream_.finish(); }

 private:
  ByteStream stream_;
};

// A space goes before a word, never behind it: nothing trails at the end of a line.
class WordDecoder : public Tokenizer::Decoder {
 public:
  WordDecoder(const StringTable& words, bool glued) : words_(words), glued_(glued) {}
  std::string feed(std::int32_t id) override {
    if (id == 0) return {};
    const bool line_end = id == 2;
    std::string text(line_end ? "\n" : glued_ ? "" : " ");
    if (!line_end) text += id == 1 ? "<unk>" : words_[id - 3];
    glued_ = line_end;
    return text;
  }

 private:
  const StringTable& words_;
  bool glued_;
};

bool ends_in_space(std::string_view text) {
  bool space = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Part part = utf8_part(text.substr(at));
    space = part.kind == Utf8Part::Kind::whole && is_space(utf8_code(text.substr(at, part.length)));
    at += part.length;
  }
  return space;
}

}  // namespace

CharTokenizer::CharTokenizer(std::vector<std::uint32_t> characters) : characters_(std::move(characters)) {}

TokenIds CharTokenizer::encode(std::string_view text) const {
  TokenIds ids;
  for_each_character(text, [&](std::uint32_t code, std::string_view character, index position) {
    const auto found = std::lower_bound(characters_.begin(), characters_.end(), code);
    if (found == characters_.end() || *found != code)
      throw TextError("character '" + std::string(character) + "' (" + hexadecimal(code) + ") at position " +
                      std::to_string(position) + " is not among the " + std::to_string(characters_.size()) +
                      " characters of the vocabulary");
    ids.push_back(static_cast<std::int32_t>(found - characters_.begin()) + 1);
  });
  return ids;
}

std::unique_ptr<Tokenizer::Decoder> CharTokenizer::decoder(std::string_view) const {
  return std::make_unique<CharDecoder>(characters_);
}

TokenIds ByteTokenizer::encode(std::string_view text) const {
  TokenIds ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::unique_ptr<Tokenizer::Decoder> ByteTokenizer::decoder(std::string_view) const { return std::make_unique<ByteDecoder>(); }

std::int32_t WordTokenizer::id_of(std::string_view word) const {
  if (word == "<eos>") return eos;
  const std::int32_t found = words_.find(word);
  return found < 0 ? unknown : found + 3;
}

TokenIds WordTokenizer::encode(std::string_view text) const {
  TokenIds ids;
  const char *begin = text.data(), *end = begin;  // of the word so far
  const auto close = [&] {
    if (end > begin) ids.push_back(id_of({begin, static_cast<std::size_t>(end - begin)}));
  };
  for_each_character(text, [&](std::uint32_t code, std::string_view character, index) {
    const char* after = character.data() + character.size();
    if (is_space(code)) {
      close();
      begin = after;
      if (code == '\n') ids.push_back(eos);
    }
    end = after;
  });
  close();
  return ids;
}

std::unique_ptr<Tokenizer::Decoder> WordTokenizer::decoder(std::string_view prefix) const {
  return std::make_unique<WordDecoder>(words_, prefix.empty() || ends_in_space(prefix));
}

}  // namespace recurlm
