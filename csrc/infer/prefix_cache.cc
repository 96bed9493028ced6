#include "infer/prefix_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace recurlm {

namespace {

std::size_t bytes_of(const StreamStates& states) {
  std::size_t floats = 0;
  for (const auto* layers : {&states.h, &states.c})
    for (const std::vector<float>& layer : *layers) floats += layer.size();
  return floats * sizeof(float);
}

}  // namespace

PrefixCache::Found PrefixCache::find(const std::int32_t* ids, index length) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Ids wanted(ids, ids + length);
  // The last text that is not behind `wanted` is either what it begins with, or tells how little it shares with any other.
  for (auto next = entries_.upper_bound(wanted); next != entries_.begin(); next = entries_.upper_bound(wanted)) {
    const auto last = std::prev(next);
    const Ids& kept = last->first;
    const auto common = std::mismatch(kept.begin(), kept.end(), wanted.begin(), wanted.end()).first - kept.begin();
    if (common == static_cast<std::ptrdiff_t>(kept.size())) {
      tokens_found_ += kept.size();
      uses_.splice(uses_.begin(), uses_, last->second.use);
      return {static_cast<index>(kept.size()), last->second.states};
    }
    wanted.resize(static_cast<std::size_t>(common));
  }
  return {};
}

void PrefixCache::keep(const std::int32_t* ids, index length, StreamStates states) {
  constexpr std::size_t beside = 512;  // nodes and headers around the numbers
  const std::size_t nbytes = bytes_of(states) + static_cast<std::size_t>(length) * sizeof *ids + beside;
  if (length == 0 || nbytes > capacity_) return;
  auto shared = std::make_shared<const StreamStates>(std::move(states));
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [place, inserted] = entries_.try_emplace(Ids(ids, ids + length));
  if (!inserted) return;  // the states of a text are always the same
  uses_.push_front(&place->first);
  place->second = {std::move(shared), nbytes, uses_.begin()};
  nbytes_ += nbytes;
  while (nbytes_ > capacity_) drop_oldest();
}

void PrefixCache::drop_oldest() {
  const auto oldest = entries_.find(*uses_.back());
  nbytes_ -= oldest->second.nbytes;
  uses_.pop_back();
  entries_.erase(oldest);
}

std::size_t PrefixCache::nbytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return nbytes_;
}

std::uint64_t PrefixCache::tokens_found() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tokens_found_;
}

bool PrefixCache::belongs_to(const PackedModel& model) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (model_id_ == 0) model_id_ = model.id();
  return model_id_ == model.id();
}

}  // namespace recurlm
