// Tokenizers that have an id for each character, byte or word.
#pragma once

#include <vector>

#include "text/string_table.h"
#include "text/tokenizer.h"

namespace recurlm {

// <bos> is 0, then the characters in code point order.
class CharTokenizer : public Tokenizer {
 public:
  explicit CharTokenizer(std::vector<std::uint32_t> characters);  // ascending

  std::string_view kind() const override { return "char"; }
  index size() const override { return static_cast<index>(characters_.size()) + 1; }
  std::int32_t bos_id() const override { return 0; }
  TokenIds encode(std::string_view text) const override;
  std::unique_ptr<Decoder> decoder(std::string_view prefix) const override;

 private:
  std::vector<std::uint32_t> characters_;
};

// The bytes, then <bos>.
class ByteTokenizer : public Tokenizer {
 public:
  std::string_view kind() const override { return "byte"; }
  index size() const override { return 257; }
  std::int32_t bos_id() const override { return 256; }
  TokenIds encode(std::string_view text) const override;
  std::unique_ptr<Decoder> decoder(std::string_view prefix) const override;
};

// <bos>, <unk> and <eos>, which is the end of a line, then the words between white space.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(StringTable words) : words_(std::move(words)) {}  // sorted, without the special ones

  std::string_view kind() const override { return "word"; }
  index size() const override { return words_.size() + 3; }
  std::int32_t bos_id() const override { return 0; }
  std::int32_t end_id() const override { return eos; }
  std::int32_t unknown_id() const override { return unknown; }
  TokenIds encode(std::string_view text) const override;
  std::unique_ptr<Decoder> decoder(std::string_view prefix) const override;

 private:
  static constexpr std::int32_t unknown = 1, eos = 2;
  std::int32_t id_of(std::string_view word) const;

  const StringTable words_;
};

}  // namespace recurlm
