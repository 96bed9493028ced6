#include "infer/prefix_tree.h"

#include <algorithm>

namespace recurlm {

bool precedes(const Text& a, const Text& b) {
  return std::lexicographical_compare(a.ids, a.ids + a.length, b.ids, b.ids + b.length);
}

index common_length(const Text& a, const Text& b) {
  const index most = std::min(a.length, b.length);
  return std::mismatch(a.ids, a.ids + most, b.ids).first - a.ids;
}

PrefixTree::PrefixTree(std::vector<Text> texts) : texts_(std::move(texts)) {
  std::sort(texts_.begin(), texts_.end(), precedes);
  shared_.resize(texts_.size());
  for (std::size_t i = 1; i < texts_.size(); ++i) shared_[i] = common_length(texts_[i - 1], texts_[i]);
  parted_.reserve(texts_.size());
  segment_.members.reserve(texts_.size());
  segment_.members.push_back({0, static_cast<index>(texts_.size()), 0});  // the root, of no steps
}

const Segment* PrefixTree::next() {
  parted_.clear();
  for (std::size_t r = 0; r < segment_.members.size(); ++r) part(segment_.members[r], static_cast<std::int32_t>(r));
  segment_.depth = segment_.end();
  segment_.steps = 0;
  segment_.members = parted_;
  if (parted_.empty()) return nullptr;
  index end = segment_.depth + std::max(most_positions / segment_.rows(), index{1});
  for (const Segment::Row& row : segment_.members) end = std::min(end, common_end(row));
  segment_.steps = end - segment_.depth;
  return &segment_;
}

// What of a row goes on after the segment, by the next token. Texts that end there are the first of the row.
void PrefixTree::part(const Segment::Row& row, std::int32_t parent) {
  const index depth = segment_.end();
  index first = row.first;
  while (first < row.last && texts_[static_cast<std::size_t>(first)].length <= depth) ++first;
  while (first < row.last) {
    index last = first + 1;
    while (last < row.last && shared_[static_cast<std::size_t>(last)] > depth) ++last;
    parted_.push_back({first, last, parent});
    first = last;
  }
}

index PrefixTree::common_end(const Segment::Row& row) const {
  index end = texts_[static_cast<std::size_t>(row.first)].length;
  for (index i = row.first + 1; i < row.last; ++i) end = std::min(end, shared_[static_cast<std::size_t>(i)]);
  return end;
}

void TreeReader::copy_state(index row, index stream, StreamStates& states) const {
  for (std::size_t l = 0; l < states.h.size(); ++l) {
    const index units = model_.layers()[l].spec.units;
    std::copy_n(states_.h[l].data() + row * units, units, states.h[l].data() + stream * units);
    if (!states.c[l].empty()) std::copy_n(states_.c[l].data() + row * units, units, states.c[l].data() + stream * units);
  }
}

const float* TreeReader::advance(Workspace::Frame& frame, const Segment& segment, const PrefixTree& tree) {
  const index rows = segment.rows();
  StackBuffers buffers(frame, model_, segment.steps, rows);
  auto* parents = frame.take<std::int32_t>(rows);
  for (index r = 0; r < rows; ++r) parents[r] = segment.members[static_cast<std::size_t>(r)].parent;
  buffers.place_states(model_, states_, parents);
  for (index t = 0; t < segment.steps; ++t)
    for (index r = 0; r < rows; ++r) buffers.place(model_, t * rows + r, tree.token(segment, t, r));
  const float* outputs = run_layers(frame, model_, buffers);
  buffers.copy_states(model_, segment.steps, states_);
  return outputs;
}

}  // namespace recurlm
