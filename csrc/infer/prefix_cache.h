// States of texts that were read, so that one that goes on from such a text is read from there.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "infer/layer_stack.h"

namespace recurlm {

// Of one model. Any number of threads may use it.
class PrefixCache {
 public:
  // What was not used for longest is dropped when more than so many bytes are held.
  explicit PrefixCache(std::size_t capacity) : capacity_(capacity) {}

  // The longest text that is kept and that `ids` (length) begins with; of length 0 and without states where there is none.
  struct Found {
    index length = 0;
    std::shared_ptr<const StreamStates> states;  // of one stream
  };
  Found find(const std::int32_t* ids, index length);
  void keep(const std::int32_t* ids, index length, StreamStates states);

  std::size_t nbytes() const;
  std::uint64_t tokens_found() const;  // that needed no reading, so far
  // Binds the cache to the first model that uses it; false for any other.
  bool belongs_to(const PackedModel& model);

 private:
  using Ids = std::vector<std::int32_t>;
  struct Entry {
    std::shared_ptr<const StreamStates> states;
    std::size_t nbytes;
    std::list<const Ids*>::iterator use;  // its place in uses_
  };
  using Entries = std::map<Ids, Entry>;

  void drop_oldest();

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  Entries entries_;             // in lexicographical order
  std::list<const Ids*> uses_;  // the last one first
  std::size_t nbytes_ = 0;
  std::uint64_t tokens_found_ = 0;
  std::uint64_t model_id_ = 0;
};

}  // namespace recurlm
