// Texts as the paths of a tree, so that what several have in common is read once, and none is padded.
#pragma once

#include <vector>

#include "infer/layer_stack.h"

namespace recurlm {

struct Text {
  const std::int32_t* ids;
  index length;
  std::size_t tag;  // the caller's name for it
};

bool precedes(const Text& a, const Text& b);  // by ids, in lexicographical order
index common_length(const Text& a, const Text& b);

// A rectangle of the tree: rows that neither part nor end for some steps. Every row is the texts that so far are the same.
struct Segment {
  struct Row {
    index first, last;     // of the sorted texts
    std::int32_t parent;  // which row of the segment before it goes on from; 0 in the first one
  };
  index depth = 0, steps = 0;  // tokens [depth, depth + steps) of the texts
  std::vector<Row> members;

  index rows() const { return static_cast<index>(members.size()); }
  index end() const { return depth + steps; }
};

class PrefixTree {
 public:
  explicit PrefixTree(std::vector<Text> texts);

  // The segments one after another, from the root; null at the end. At most so many positions lie in one.
  static constexpr index most_positions = 1024;
  const Segment* next();

  struct TextRange {
    const Text *first, *last;
    const Text* begin() const { return first; }
    const Text* end() const { return last; }
  };
  TextRange texts_of(const Segment& segment, index row) const {
    const Segment::Row& r = segment.members[static_cast<std::size_t>(row)];
    return {texts_.data() + r.first, texts_.data() + r.last};
  }
  std::int32_t token(const Segment& segment, index step, index row) const {
    return texts_of(segment, row).first->ids[segment.depth + step];
  }

 private:
  void part(const Segment::Row& row, std::int32_t parent);
  index common_end(const Segment::Row& row) const;

  std::vector<Text> texts_;       // sorted by their ids
  std::vector<index> shared_;     // how many first tokens a text has in common with the one before it
  Segment segment_;
  std::vector<Segment::Row> parted_;
};

// Takes the states of a tree's rows through the recurrent layers of a model, segment by segment.
class TreeReader {
 public:
  TreeReader(const PackedModel& model, Workspace& workspace) : model_(model), workspace_(workspace), states_(model, 1) {}

  // Where the root stands, in place of zero.
  void start(const StreamStates& states) { states_ = states; }
  // The outputs of the top layer, (T, B, H), go to visit while they are there.
  template <typename Visit>
  void read(const Segment& segment, const PrefixTree& tree, Visit&& visit) {
    Workspace::Frame frame(workspace_);
    visit(advance(frame, segment, tree));
  }
  void read(const Segment& segment, const PrefixTree& tree) {
    read(segment, tree, [](const float*) {});
  }
  // What row `row` has come to, as stream `stream` of `states`.
  void copy_state(index row, index stream, StreamStates& states) const;

 private:
  const float* advance(Workspace::Frame& frame, const Segment& segment, const PrefixTree& tree);

  const PackedModel& model_;
  Workspace& workspace_;
  StreamStates states_;  // of the rows of the last segment; at first one zero row
};

}  // namespace recurlm
