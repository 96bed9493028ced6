#include "infer/decoder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "infer/prefix_tree.h"

namespace recurlm {

DecodingState::DecodingState(const PackedModel& model, index streams, std::uint64_t seed)
    : model_(model.id()),
      streams_(streams),
      seed_(seed),
      states_(model, streams),
      seen_(static_cast<std::size_t>(streams * model.classes())),
      finished_(static_cast<std::size_t>(streams)) {}

DecodingState::DecodingState(const DecodingState& other)
    : model_(other.model_),
      streams_(other.streams_),
      seed_(other.seed_),
      position_(other.position_),
      states_(other.states_),
      next_(other.next_),
      seen_(other.seen_),
      banned_(other.banned_),
      finished_(other.finished_),
      failed_(other.failed_) {}

DecodingState begin(const PackedModel& model, const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                    const std::vector<std::int32_t>& banned) {
  const index classes = model.classes();
  DecodingState state(model, static_cast<index>(prompts.size()), seed);
  state.banned_ = banned;
  std::sort(state.banned_.begin(), state.banned_.end());
  std::vector<Text> texts;  // all but the last token
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    texts.push_back({prompts[s].data(), static_cast<index>(prompts[s].size()) - 1, s});
    state.next_.push_back(prompts[s].back());
    std::uint8_t* seen = state.seen_.data() + s * static_cast<std::size_t>(classes);
    for (std::int32_t id : prompts[s])
      if (id < classes) seen[id] = 1;
  }
  PrefixTree tree(std::move(texts));
  TreeReader reader(model, state.workspace_);
  while (const Segment* segment = tree.next()) {
    reader.read(*segment, tree);
    for (index row = 0; row < segment->rows(); ++row)
      for (const Text& text : tree.texts_of(*segment, row))
        if (text.length == segment->end()) reader.copy_state(row, static_cast<index>(text.tag), state.states_);
  }
  return state;
}

// One call: everything that the loop over tokens needs, taken beforehand.
class Generation {
 public:
  Generation(Workspace::Frame& frame, const PackedModel& model, DecodingState& state, const Sampling& sampling,
             const std::vector<std::int32_t>& stop_ids, int threads);

  // False where the model's output was not finite.
  static bool run(const PackedModel& model, DecodingState& state, index count, const Sampling& sampling,
                  const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs);

 private:
  void draw_all(Team& team, index count, std::int32_t* ids, float* log_probs);
  void project(const Team& team, const float* h, bool log_probs);
  void prepare_block(index stream, index block, bool log_probs) const;
  void draw(const Team& team, index stream, std::int32_t* id, float* log_prob);
  SoftmaxRow raw_row(index stream) const { return {classes_, logits_ + stream * classes_, at(raw_blocks_, stream), 1.0}; }
  SoftmaxRow drawn_row(index stream) const {
    return {classes_, drawn_logits_ + stream * classes_, at(blocks_, stream), sampling_.scale()};
  }
  SoftmaxBlock* at(SoftmaxBlock* blocks, index stream) const { return blocks + stream * output_.blocks(); }

  const PackedModel& model_;
  DecodingState& state_;
  const Sampling& sampling_;
  const std::vector<std::int32_t>& stop_ids_;
  const index streams_, classes_;
  StackBuffers buffers_;
  const LayerStack forth_, back_;  // from the first slot of the states to the second, and back
  const OutputLayer output_;
  float *logits_, *drawn_logits_;         // (S, V): the model's; penalised, or the same
  SoftmaxBlock *raw_blocks_, *blocks_;    // (S, blocks) of them; at the scale of the temperature
  Candidate* candidates_;                 // (threads, V), or null where nothing filters
  const bool alters_;                     // whether what is drawn from differs from the model's own distribution
  index steps_ = 0;                       // done in this call
  std::atomic<index> running_;            // streams that have not finished
  std::atomic<bool> finite_{true};
};

Generation::Generation(Workspace::Frame& frame, const PackedModel& model, DecodingState& state, const Sampling& sampling,
                       const std::vector<std::int32_t>& stop_ids, int threads)
    : model_(model),
      state_(state),
      sampling_(sampling),
      stop_ids_(stop_ids),
      streams_(state.streams_),
      classes_(model.classes()),
      buffers_(frame, model, 1, streams_),
      forth_(frame, model, buffers_, threads),
      back_(frame, model, buffers_, threads, true),
      output_(frame, model, threads),
      logits_(frame.take<float>(streams_ * classes_)),
      drawn_logits_(sampling.penalises() ? frame.take<float>(streams_ * classes_) : logits_),
      raw_blocks_(frame.take<SoftmaxBlock>(streams_ * output_.blocks())),
      blocks_(frame.take<SoftmaxBlock>(streams_ * output_.blocks())),
      candidates_(sampling.filters() ? frame.take<Candidate>(threads * classes_) : nullptr),
      alters_(sampling.penalises() || sampling.scale() != 1.0 || !state.banned_.empty()),
      running_(std::count(state.finished_.begin(), state.finished_.end(), 0)) {
  buffers_.place_states(model, state.states_);
  for (index s = 0; s < streams_; ++s) {
    buffers_.place(model, s, state.next_[static_cast<std::size_t>(s)]);
    buffers_.mask[s] = !state.finished(s);
  }
}

void Generation::draw_all(Team& team, index count, std::int32_t* ids, float* log_probs) {
  for (index n = 0; n < count && running_.load(std::memory_order_relaxed) > 0; ++n) {
    const LayerStack& stack = n % 2 == 0 ? forth_ : back_;
    stack.run(team);
    project(team, stack.outputs(), log_probs != nullptr);
    team.barrier();
    const Range share = team.share(streams_);
    for (index s = share.begin; s < share.end; ++s)
      if (!state_.finished(s)) draw(team, s, ids + s * count + n, log_probs ? log_probs + s * count + n : nullptr);
    team.barrier();
    if (!finite_.load(std::memory_order_relaxed)) return;
    if (team.id == 0) steps_ = n + 1;
  }
}

void Generation::project(const Team& team, const float* h, bool log_probs) {
  for_share(team, output_.blocks(), streams_, kernels::table().gemm_rows,
            [&](index block, index blocks, index row, index rows) {
              for (index b = block; b < block + blocks; ++b) {
                output_.multiply_block(team, h + row * model_.output_units(), rows, b,
                                       logits_ + row * classes_ + b * block_classes, classes_);
                for (index s = row; s < row + rows; ++s) prepare_block(s, b, log_probs);
              }
            });
}

// A block of a stream's logits, just multiplied, becomes what is drawn from.
void Generation::prepare_block(index stream, index block, bool log_probs) const {
  const auto& k = kernels::table();
  const index first = block * block_classes, count = output_.block_size(block), at_block = stream * output_.blocks() + block;
  float* logits = logits_ + stream * classes_ + first;
  if (log_probs) raw_blocks_[at_block] = k.softmax_block(count, logits, 1.0f);
  const std::vector<std::int32_t>& banned = state_.banned_;
  for (auto id = std::lower_bound(banned.begin(), banned.end(), first); id != banned.end() && *id < first + count; ++id)
    logits[*id - first] = -std::numeric_limits<float>::infinity();
  float* drawn = drawn_logits_ + stream * classes_ + first;
  if (sampling_.penalises()) {
    std::copy_n(logits, count, drawn);
    penalise(count, state_.seen_.data() + stream * classes_ + first, sampling_.repetition_penalty, drawn);
  }
  if (log_probs && !alters_)
    blocks_[at_block] = raw_blocks_[at_block];
  else
    blocks_[at_block] = k.softmax_block(count, drawn, static_cast<float>(sampling_.scale()));
}

void Generation::draw(const Team& team, index stream, std::int32_t* id, float* log_prob) {
  const auto s = static_cast<std::size_t>(stream);
  const SoftmaxRow row = drawn_row(stream);
  const SoftmaxTotal total = total_of(row);
  if (!total.finite()) return finite_.store(false, std::memory_order_relaxed);
  const std::uint64_t position = state_.position_ + static_cast<std::uint64_t>(steps_);
  const double u = uniform(state_.seed_, static_cast<std::uint32_t>(stream), position);
  *id = recurlm::draw(sampling_, row, total, u, candidates_ ? candidates_ + team.id * classes_ : nullptr);
  if (log_prob) {
    const SoftmaxRow raw = raw_row(stream);
    const SoftmaxTotal raw_total = total_of(raw);
    *log_prob = static_cast<float>(static_cast<double>(raw.logits[*id]) - raw_total.maximum - std::log(raw_total.sum));
  }
  state_.seen_[s * static_cast<std::size_t>(classes_) + static_cast<std::size_t>(*id)] = 1;
  state_.next_[s] = *id;
  buffers_.place(model_, stream, *id);
  if (std::find(stop_ids_.begin(), stop_ids_.end(), *id) == stop_ids_.end()) return;
  state_.finished_[s] = 1;
  buffers_.mask[stream] = 0;  // its state stays where its text ended
  running_.fetch_sub(1, std::memory_order_relaxed);
}

bool Generation::run(const PackedModel& model, DecodingState& state, index count, const Sampling& sampling,
                     const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs) {
  const double token = model.recurrent_operations() + model.projection_operations();
  const int threads = threads_for(token * static_cast<double>(state.streams_));
  Workspace::Frame frame(state.workspace_);
  Generation generation(frame, model, state, sampling, stop_ids, threads);
  std::fill_n(ids, state.streams_ * count, -1);
  if (log_probs) std::fill_n(log_probs, state.streams_ * count, 0.0f);
  parallel(threads, [&](Team& team) { generation.draw_all(team, count, ids, log_probs); });
  state.failed_ = !generation.finite_.load();
  generation.buffers_.copy_states(model, generation.steps_ % 2, state.states_);
  state.position_ += static_cast<std::uint64_t>(count);
  return !state.failed_;
}

void generate(const PackedModel& model, DecodingState& state, index count, const Sampling& sampling,
              const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs) {
  if (count == 0 || state.streams() == 0) return;
  if (!Generation::run(model, state, count, sampling, stop_ids, ids, log_probs))
    throw std::domain_error("the model's output is not finite");
}

}  // namespace recurlm
