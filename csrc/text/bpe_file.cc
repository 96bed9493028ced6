#include "text/bpe_file.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/utf8.h"

namespace recurlm {

namespace {

constexpr std::string_view special_tokens[] = {"<bos>", "<unk>", "<eos>"};
constexpr index first_byte = 3, bytes = 256;
constexpr index most_tokens = index{1} << 30;

// What first_word of bpe_tokenizer.cc is.
constexpr std::string_view words_pattern =
    R"( ?[^\x00-@\[-`{-\x7F]+| ?[0-9]+| ?[\x00-\x08\x0E-\x1F!-/:-@\[-`{-\x7F]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+)";

// The character that stands for each byte in a vocabulary: itself if it is visible, else one from U+0100 on.
std::uint32_t character_of(unsigned byte) {
  const auto visible = [](unsigned b) { return (b >= 0x21 && b < 0x7F) || (b >= 0xA1 && b < 0xAD) || b >= 0xAE; };
  if (visible(byte)) return byte;
  std::uint32_t hidden = 0x100;
  for (unsigned b = 0; b < byte; ++b) hidden += !visible(b);
  return hidden;
}

// Bytes by character, and in the order of the characters.
class Alphabet {
 public:
  Alphabet() {
    for (unsigned byte = 0; byte < bytes; ++byte) characters_[byte] = {character_of(byte), static_cast<char>(byte)};
    std::sort(std::begin(characters_), std::end(characters_));
  }

  // The place among the characters; -1 where it stands for no byte.
  index place(std::uint32_t character) const {
    const auto* found = std::lower_bound(std::begin(characters_), std::end(characters_), std::make_pair(character, std::numeric_limits<char>::min()));
    return found != std::end(characters_) && found->first == character ? found - std::begin(characters_) : -1;
  }
  char byte_at(index place) const { return characters_[place].second; }

 private:
  std::pair<std::uint32_t, char> characters_[bytes];
};

class BpeModel {
 public:
  explicit BpeModel(JsonReader& json) : json_(json) {}
  std::unique_ptr<BpeTokenizer> read();

 private:
  void read_vocabulary();
  void read_merges();
  std::string bytes_of(std::string_view token);
  // The vocabulary that the merges make: nothing else makes one differ from another.
  std::unique_ptr<BpeTokenizer> make();

  JsonReader& json_;
  const Alphabet alphabet_;
  StringTable tokens_;  // their bytes
  StringTable halves_;  // of merges, two and two
};

std::unique_ptr<BpeTokenizer> BpeModel::read() {
  Fields fields(json_, {"vocab", "merges", "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                        "fuse_unk", "byte_fallback", "ignore_merges"});
  json_.object([&](std::string_view key) {
    switch (fields.take(key)) {
      case 0: return read_vocabulary();
      case 1: return read_merges();
      case 2: return require_string(json_, key, "BPE");
      case 7:
      case 8:
      case 9: return require_false(json_, key);
      default: return require_null(json_, key);
    }
  });
  fields.require({"vocab", "merges", "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback"});
  return make();
}

void BpeModel::read_vocabulary() {
  json_.object([&](std::string_view token) {
    if (json_.integer(0, most_tokens) != tokens_.size())
      json_.fail("the tokens of vocab must stand in the order of their ids, from 0 on");
    const bool special = tokens_.size() < first_byte;
    if (special && token != special_tokens[tokens_.size()]) json_.fail("the first tokens must be <bos>, <unk> and <eos>");
    tokens_.add(special ? std::string() : bytes_of(token));
  });
}

void BpeModel::read_merges() {
  json_.array([&] {
    if (json_.peek() == JsonReader::Kind::array) {  // as newer versions of the library write it
      index count = 0;
      json_.array([&] {
        halves_.add(bytes_of(json_.string()));
        ++count;
      });
      if (count != 2) json_.fail("each of merges must be two tokens");
      return;
    }
    const std::string pair = json_.string();
    const std::size_t space = pair.find(' ');
    if (space == std::string::npos) json_.fail("each of merges must be two tokens");
    halves_.add(bytes_of(std::string_view(pair).substr(0, space)));
    halves_.add(bytes_of(std::string_view(pair).substr(space + 1)));
  });
}

std::string BpeModel::bytes_of(std::string_view token) {
  std::string text;
  for (std::size_t at = 0; at < token.size();) {
    const std::size_t length = utf8_part(token.substr(at)).length;  // it is UTF-8: the reader has seen to it
    const index place = alphabet_.place(utf8_code(token.substr(at, length)));
    if (place < 0) json_.fail("the token \"" + shortened(token) + "\" holds a character that stands for no byte");
    text.push_back(alphabet_.byte_at(place));
    at += length;
  }
  if (text.empty()) json_.fail("a token is empty");
  return text;
}

std::unique_ptr<BpeTokenizer> BpeModel::make() {
  const index known = first_byte + bytes;
  const auto check = [&](bool ok) {
    if (!ok) json_.fail("vocab must be the special tokens, the bytes, and what merges make, in their order");
  };
  check(tokens_.size() >= known);
  for (index place = 0; place < bytes; ++place)
    check(tokens_[first_byte + place] == std::string_view(std::string(1, alphabet_.byte_at(place))));
  StringTable sorted = tokens_;
  sorted.sort();  // the special ones are equal: empty
  index next = known;  // the token that the next merge that makes a new one makes
  std::vector<BpeTokenizer::Merge> merges;
  for (index i = 0; i < halves_.size(); i += 2) {
    const std::int32_t left = sorted.find(halves_[i]), right = sorted.find(halves_[i + 1]);
    if (left < 0 || right < 0 || left >= next || right >= next)
      json_.fail("merges must join tokens that bytes and earlier merges give");
    const std::int32_t made = sorted.find(std::string(halves_[i]) + std::string(halves_[i + 1]));
    check(made >= known && made <= next);
    next += made == next;
    merges.push_back({left, right, made});
  }
  check(next == tokens_.size());
  return std::make_unique<BpeTokenizer>(std::move(tokens_), std::move(merges));
}

}  // namespace

void require_null(JsonReader& json, std::string_view field) {
  if (json.peek() != JsonReader::Kind::null) json.fail("a " + std::string(field) + " is not supported here, only in Python");
  json.null();
}

void require_false(JsonReader& json, std::string_view field) {
  if (json.boolean()) json.fail(std::string(field) + " is not supported here, only in Python");
}

void require_string(JsonReader& json, std::string_view field, std::string_view expected) {
  if (const std::string found = json.string(); found != expected)
    json.fail("the " + std::string(field) + " \"" + shortened(found) + "\" is not supported here, only in Python");
}

void read_byte_level(JsonReader& json, bool cuts_words) {
  Fields fields(json, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  json.object([&](std::string_view key) {
    const std::size_t field = fields.take(key);
    if (field == 0) return require_string(json, key, "ByteLevel");
    if (json.boolean() != (field == 2 || (field == 3 && cuts_words))) json.fail("ByteLevel has another " + std::string(key));
  });
  fields.require_all();
}

namespace {

// Words, isolated by the one pattern.
void read_split(JsonReader& json) {
  Fields fields(json, {"type", "pattern", "behavior", "invert"});
  json.object([&](std::string_view key) {
    switch (fields.take(key)) {
      case 0: return require_string(json, "pre_tokenizer", "Split");
      case 1: return json.object([&](std::string_view kind) {
        if (kind != "Regex") json.fail("the pattern must be a Regex");
        require_string(json, "pattern", words_pattern);
      });
      case 2: return require_string(json, key, "Isolated");
      default: return require_false(json, key);
    }
  });
  fields.require_all();
}

}  // namespace

void read_ascii_words(JsonReader& json) {
  Fields fields(json, {"type", "pretokenizers"});
  json.object([&](std::string_view key) {
    if (key == "type" && fields.take(key) == 0) return require_string(json, "pre_tokenizer", "Sequence");
    if (key != "pretokenizers") json.fail("a pre_tokenizer with \"" + shortened(key) + "\" is not supported here, only in Python");
    fields.take(key);
    index place = 0;
    json.array([&] {
      if (place > 1) json.fail("there must be two pretokenizers, Split and ByteLevel");
      place++ == 0 ? read_split(json) : read_byte_level(json, false);
    });
    if (place != 2) json.fail("there must be two pretokenizers, Split and ByteLevel");
  });
  fields.require_all();
}

void read_special_tokens(JsonReader& json) {
  index place = 0;
  json.array([&] {
    if (place == first_byte) json.fail("there are more added_tokens than <bos>, <unk> and <eos>");
    Fields fields(json, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    json.object([&](std::string_view key) {
      switch (fields.take(key)) {
        case 0: json.integer(place, place); return;
        case 1: return require_string(json, "added token", special_tokens[place]);
        case 6:
          if (!json.boolean()) json.fail("added_tokens must be special");
          return;
        default: return require_false(json, key);
      }
    });
    fields.require_all();
    ++place;
  });
  if (place != first_byte) json.fail("added_tokens must be <bos>, <unk> and <eos>");
}

std::unique_ptr<BpeTokenizer> read_bpe_model(JsonReader& json) { return BpeModel(json).read(); }

}  // namespace recurlm
