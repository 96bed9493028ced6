// Text to token ids and back, as the tokenizers of Python do it: characters, bytes, words, and bytes merged within words.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace recurlm {

// A text that the vocabulary has no ids for.
struct TextError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using TokenIds = std::vector<std::int32_t>;

class Tokenizer {
 public:
  // The text of tokens, piece by piece. The pieces joined are that of all tokens together.
  class Decoder {
   public:
    virtual ~Decoder() = default;
    virtual std::string feed(std::int32_t id) = 0;  // an id of the vocabulary
    virtual std::string finish() { return {}; }
  };

  virtual ~Tokenizer() = default;

  virtual std::string_view kind() const = 0;  // as in tokenizer.json and config.json
  virtual index size() const = 0;
  virtual std::int32_t bos_id() const = 0;
  virtual std::int32_t end_id() const { return bos_id(); }
  // Of what is not in the vocabulary; -1 where nothing is.
  virtual std::int32_t unknown_id() const { return -1; }
  // The ids that stand for no text, and part texts.
  virtual TokenIds end_ids() const { return {bos_id()}; }

  // TextError where a character, or bytes that are not UTF-8, have no id. Without <bos>.
  virtual TokenIds encode(std::string_view text) const = 0;
  // Of what follows the text `prefix`. The tokenizer must outlive it.
  virtual std::unique_ptr<Decoder> decoder(std::string_view prefix) const = 0;
};

// From the contents of tokenizer.json; FormatError where it is not of a tokenizer that there is here.
std::unique_ptr<Tokenizer> read_tokenizer(std::string_view json);

}  // namespace recurlm
