#include <optional>

#include "base/utf8.h"
#include "files/json_reader.h"
#include "text/bpe_file.h"
#include "text/simple_tokenizers.h"

namespace recurlm {

namespace {

std::vector<std::uint32_t> read_characters(JsonReader& json) {
  const std::string text = json.string();
  std::vector<std::uint32_t> characters;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_part(std::string_view(text).substr(at)).length;
    characters.push_back(utf8_code(std::string_view(text).substr(at, length)));
    if (characters.size() > 1 && characters.back() <= characters[characters.size() - 2])
      json.fail("characters must be distinct and in code point order");
    at += length;
  }
  return characters;
}

StringTable read_words(JsonReader& json) {
  StringTable words;
  json.array([&] {
    const std::string word = json.string();
    if (word == "<bos>" || word == "<unk>" || word == "<eos>") json.fail("words must not hold special tokens");
    words.add(word);
  });
  if (!words.sort()) json.fail("words must be distinct");
  return words;
}

// What a tokenizer.json may say: the fields of characters, bytes and words, and those of the tokenizers library.
class TokenizerFile {
 public:
  explicit TokenizerFile(std::string_view text) : json_(text) {}
  std::unique_ptr<Tokenizer> read();

 private:
  void read_field(std::size_t field, std::string_view key);
  std::unique_ptr<Tokenizer> make();

  JsonReader json_;
  Fields fields_{json_, {"format_version", "kind", "characters", "words", "pattern", "size", "minimum_count", "model",
                         "pre_tokenizer", "decoder", "added_tokens", "version", "normalizer", "truncation", "padding",
                         "post_processor"}};
  std::string kind_;
  std::vector<std::uint32_t> characters_;
  std::optional<StringTable> words_;
  std::unique_ptr<BpeTokenizer> bpe_;
};

std::unique_ptr<Tokenizer> TokenizerFile::read() {
  json_.object([&](std::string_view key) { read_field(fields_.take(key), key); });
  json_.end();
  return make();
}

void TokenizerFile::read_field(std::size_t field, std::string_view key) {
  switch (field) {
    case 0: json_.integer(1, 1); return;
    case 1: kind_ = json_.string(); return;
    case 2: characters_ = read_characters(json_); return;
    case 3: words_ = read_words(json_); return;
    case 5:
    case 6: return json_.skip();  // of training
    case 7: bpe_ = read_bpe_model(json_); return;
    case 8: return read_ascii_words(json_);
    case 9: return read_byte_level(json_, true);
    case 10: return read_special_tokens(json_);
    case 11: return require_string(json_, key, "1.0");
    default: return require_null(json_, key);
  }
}

std::unique_ptr<Tokenizer> TokenizerFile::make() {
  const auto require_just = [&](std::initializer_list<std::string_view> names) {
    fields_.require(names);
    fields_.require_only(names);
  };
  if (bpe_) {
    require_just({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                  "decoder", "model"});
    return std::move(bpe_);
  }
  if (kind_ == "char") {
    require_just({"format_version", "kind", "characters"});
    if (characters_.empty()) json_.fail("there are no characters");
    return std::make_unique<CharTokenizer>(std::move(characters_));
  }
  if (kind_ == "word") {
    require_just({"format_version", "kind", "size", "minimum_count", "pattern", "words"});
    return std::make_unique<WordTokenizer>(std::move(*words_));
  }
  if (kind_ != "byte") json_.fail("it is no tokenizer of characters, bytes, words or byte pairs");
  require_just({"format_version", "kind"});
  return std::make_unique<ByteTokenizer>();
}

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer(std::string_view json) { return TokenizerFile(json).read(); }

}  // namespace recurlm
