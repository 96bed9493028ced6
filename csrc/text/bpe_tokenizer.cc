#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

#include "base/utf8.h"
#include "text/byte_stream.h"

namespace recurlm {

namespace {

enum class Class { letter, digit, space, other };

Class class_of(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0x80 || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) return Class::letter;
  if (byte >= '0' && byte <= '9') return Class::digit;
  return byte == ' ' || (byte >= '\t' && byte <= '\r') ? Class::space : Class::other;
}

// The end of the run of one class that begins at `from`.
std::size_t run_end(std::string_view text, std::size_t from) {
  const Class first = class_of(text[from]);
  std::size_t end = from + 1;
  while (end < text.size() && class_of(text[end]) == first) ++end;
  return end;
}

// A token of a word that is being merged, in a list from left to right.
struct Symbol {
  std::int32_t id;              // -1 once it has been merged with the one before it
  std::int32_t previous, next;  // -1 at the ends
};

// What could be merged: the most frequent first, and from left to right.
struct Candidate {
  std::int32_t rank, at, id;
  bool operator<(const Candidate& other) const { return std::tie(rank, at) > std::tie(other.rank, other.at); }
};

class BpeDecoder : public Tokenizer::Decoder {
 public:
  explicit BpeDecoder(const StringTable& tokens) : tokens_(tokens) {}
  std::string feed(std::int32_t id) override { return stream_.feed(tokens_[id]); }
  std::string finish() override { return stream_.finish(); }

 private:
  const StringTable& tokens_;
  ByteStream stream_;
};

}  // namespace

std::size_t first_word(std::string_view text) {
  if (text[0] == ' ' && text.size() > 1 && class_of(text[1]) != Class::space) return run_end(text, 1);
  const std::size_t end = run_end(text, 0);
  const bool word_follows = class_of(text[0]) == Class::space && end < text.size();
  return word_follows && end > 1 ? end - 1 : end;
}

BpeTokenizer::BpeTokenizer(StringTable tokens, std::vector<Merge> merges) : tokens_(std::move(tokens)) {
  for (index i = 0; i < tokens_.size(); ++i)
    if (tokens_[i].size() == 1) byte_ids_[static_cast<unsigned char>(tokens_[i][0])] = static_cast<std::int32_t>(i);
  for (const Merge& merge : merges) merges_.push_back({merge, static_cast<std::int32_t>(merges_.size())});
  const auto pair = [](const Ranked& ranked) { return std::tie(ranked.merge.left, ranked.merge.right); };
  std::stable_sort(merges_.begin(), merges_.end(), [&](const Ranked& a, const Ranked& b) { return pair(a) < pair(b); });
  // Of a pair that is there twice the last counts, as in a map that is filled in the order of ranks.
  for (std::size_t i = 0; i + 1 < merges_.size(); ++i)
    if (pair(merges_[i]) == pair(merges_[i + 1])) merges_[i].rank = -1;
  merges_.erase(std::remove_if(merges_.begin(), merges_.end(), [](const Ranked& ranked) { return ranked.rank < 0; }),
                merges_.end());
}

const BpeTokenizer::Ranked* BpeTokenizer::find(std::int32_t left, std::int32_t right) const {
  const auto precedes = [](const Ranked& ranked, const std::pair<std::int32_t, std::int32_t>& pair) {
    return std::tie(ranked.merge.left, ranked.merge.right) < std::tie(pair.first, pair.second);
  };
  const auto found = std::lower_bound(merges_.begin(), merges_.end(), std::make_pair(left, right), precedes);
  return found != merges_.end() && found->merge.left == left && found->merge.right == right ? &*found : nullptr;
}

void BpeTokenizer::encode_word(std::string_view word, TokenIds& ids) const {
  if (word.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) throw TextError("a word is too long");
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const auto at = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({byte_ids_[static_cast<unsigned char>(c)], at - 1, at + 1});
  }
  symbols.back().next = -1;
  const auto symbol = [&](std::int32_t at) -> Symbol& { return symbols[static_cast<std::size_t>(at)]; };
  std::priority_queue<Candidate> queue;
  const auto offer = [&](std::int32_t at) {
    if (at < 0 || symbol(at).next < 0) return;
    if (const Ranked* found = find(symbol(at).id, symbol(symbol(at).next).id)) queue.push({found->rank, at, found->merge.id});
  };
  for (std::size_t at = 0; at < symbols.size(); ++at) offer(static_cast<std::int32_t>(at));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbol(top.at);
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbol(left.next);
    const Ranked* found = find(left.id, right.id);
    if (!found || found->merge.id != top.id) continue;  // one of the two was merged with another meanwhile
    right.id = -1;
    left.id = top.id;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = top.at;
    offer(left.previous);
    offer(top.at);
  }
  for (std::int32_t at = 0; at >= 0; at = symbol(at).next) ids.push_back(symbol(at).id);
}

TokenIds BpeTokenizer::encode(std::string_view text) const {
  TokenIds ids;
  for (std::size_t begin = 0, end = 0; end < text.size(); begin = end) {
    // Bytes that are not UTF-8 are tokens of their own, and words end before them.
    while (end < text.size()) {
      const Utf8Part part = utf8_part(text.substr(end));
      if (part.kind != Utf8Part::Kind::whole) break;
      end += part.length;
    }
    for (std::string_view rest = text.substr(begin, end - begin); !rest.empty();) {
      const std::size_t length = first_word(rest);
      encode_word(rest.substr(0, length), ids);
      rest.remove_prefix(length);
    }
    while (end < text.size() && utf8_part(text.substr(end)).kind != Utf8Part::Kind::whole)
      ids.push_back(byte_ids_[static_cast<unsigned char>(text[end++])]);
  }
  return ids;
}

std::unique_ptr<Tokenizer::Decoder> BpeTokenizer::decoder(std::string_view) const { return std::make_unique<BpeDecoder>(tokens_); }

}  // namespace recurlm
