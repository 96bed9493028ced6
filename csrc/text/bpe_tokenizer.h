// Byte-pair encoding (Sennrich et al., 2016) on bytes (Radford et al., 2019), within words that are cut by classes of ASCII.
#pragma once

#include <string_view>
#include <vector>

#include "text/string_table.h"
#include "text/tokenizer.h"

namespace recurlm {

// <bos>, <unk> and <eos>, the bytes in the order of the characters that stand for them, then what merges make.
class BpeTokenizer : public Tokenizer {
 public:
  // Two tokens, and what they make; in the order of their ranks.
  struct Merge {
    std::int32_t left, right, id;
  };
  // The bytes of all ids, none for the special ones. Every byte is a token.
  BpeTokenizer(StringTable tokens, std::vector<Merge> merges);

  std::string_view kind() const override { return "bpe"; }
  index size() const override { return tokens_.size(); }
  std::int32_t bos_id() const override { return 0; }
  std::int32_t end_id() const override { return 2; }
  std::int32_t unknown_id() const override { return 1; }
  TokenIds end_ids() const override { return {0, 2}; }
  TokenIds encode(std::string_view text) const override;
  std::unique_ptr<Decoder> decoder(std::string_view prefix) const override;

 private:
  struct Ranked {
    Merge merge;
    std::int32_t rank;
  };
  const Ranked* find(std::int32_t left, std::int32_t right) const;
  void encode_word(std::string_view word, TokenIds& ids) const;

  const StringTable tokens_;
  std::int32_t byte_ids_[256];
  std::vector<Ranked> merges_;  // by left and right
};

// Bytes of the first word of a text that is UTF-8 and not empty: a run of letters (all that is not ASCII is one), of digits or of
// other characters, each with a space before it if there is one; or white space, but for the last before a word.
std::size_t first_word(std::string_view text);

}  // namespace recurlm
