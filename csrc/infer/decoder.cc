#include "infer/decoder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "infer/next_logits.h"

namespace recurlm {

namespace {

// How the tokens of one stream are drawn.
struct Drawing {
  Sampling sampling;
  float* logits;                      // (V) what is drawn from: the model's, or a copy that is altered
  SoftmaxBlock *blocks, *raw_blocks;  // of these, at the scale of the temperature; of the model's
  bool shifted;                       // whether some logits are changed
  bool altered;                       // whether the distribution is another than the model's own
};

bool only_bans(const TokenBiases& biases) {
  return std::all_of(biases.begin(), biases.end(), [](const TokenBias& b) { return std::isinf(b.bias) && b.bias < 0; });
}

// One call: everything that the loop over tokens needs, taken beforehand.
class Generation {
 public:
  Generation(Workspace::Frame& frame, const PackedModel& model, DecodingState& state, const std::vector<Sampling>& sampling,
             const std::vector<std::int32_t>& stop_ids, const Drawn& drawn, int threads);

  void draw_all(Team& team, index count);
  bool finite() const { return finite_.load(); }
  index steps() const { return steps_; }
  const StackBuffers& buffers() const { return next_.buffers(); }

 private:
  void prepare_block(index stream, index block) const;
  void draw(const Team& team, index stream, index at);
  void record(index stream, std::int32_t id, index at) const;
  void end(index stream);
  SoftmaxRow row(const float* logits, const SoftmaxBlock* blocks, double scale) const { return {classes_, logits, blocks, scale}; }

  const PackedModel& model_;
  DecodingState& state_;
  const std::vector<std::int32_t>& stop_ids_;
  const Drawn drawn_;
  const index streams_, classes_;
  const NextLogits next_;
  Drawing* drawings_;                 // (S)
  Candidate* candidates_ = nullptr;   // (threads, V), where something filters
  index steps_ = 0;                   // done in this call
  std::atomic<index> running_{0};     // streams that have not finished
  std::atomic<bool> finite_{true};
};

Generation::Generation(Workspace::Frame& frame, const PackedModel& model, DecodingState& state,
                       const std::vector<Sampling>& sampling, const std::vector<std::int32_t>& stop_ids, const Drawn& drawn,
                       int threads)
    : model_(model),
      state_(state),
      stop_ids_(stop_ids),
      drawn_(drawn),
      streams_(state.size()),
      classes_(model.classes()),
      next_(frame, model, state, threads),
      drawings_(frame.take<Drawing>(streams_)) {
  bool filters = false;
  for (index s = 0; s < streams_; ++s) {
    const Sampling& own = sampling[sampling.size() == 1 ? 0 : static_cast<std::size_t>(s)];
    const TokenBiases& biases = *state.at(s).biases;
    const bool shifted = own.penalises() || !only_bans(biases);
    auto* blocks = frame.take<SoftmaxBlock>(next_.blocks());
    auto* raw_blocks = drawn.wants_log_probs() ? frame.take<SoftmaxBlock>(next_.blocks()) : blocks;
    drawings_[s] = {own, shifted ? frame.take<float>(classes_) : next_.logits(s), blocks, raw_blocks, shifted,
                    shifted || own.scale() != 1.0 || !biases.empty()};
    filters |= own.filters();
    running_ += !state.at(s).finished;
  }
  if (filters) candidates_ = frame.take<Candidate>(threads * classes_);
}

void Generation::draw_all(Team& team, index count) {
  for (index n = 0; n < count && running_.load(std::memory_order_relaxed) > 0; ++n) {
    next_.run(team, n, [&](index stream, index block) { prepare_block(stream, block); });
    const Range share = team.share(streams_);
    for (index s = share.begin; s < share.end; ++s)
      if (!state_.at(s).finished) draw(team, s, s * count + n);
    team.barrier();
    if (!finite_.load(std::memory_order_relaxed)) return;
    if (team.id == 0) steps_ = n + 1;
  }
}

// A block of a stream's logits, just multiplied, becomes what is drawn from.
void Generation::prepare_block(index stream, index block) const {
  const auto& k = kernels::table();
  const index first = block * block_classes, count = next_.block_size(block);
  const Drawing& drawing = drawings_[stream];
  const Stream& own = state_.at(stream);
  float *logits = next_.logits(stream) + first, *drawn = drawing.logits + first;
  if (drawn_.wants_log_probs()) drawing.raw_blocks[block] = k.softmax_block(count, logits, 1.0f);
  if (drawing.shifted) {
    std::copy_n(logits, count, drawn);
    penalise(drawing.sampling, count, own.seen.data() + first, own.drawn.data() + first, drawn);
  }
  const auto behind = [](const TokenBias& bias, index id) { return bias.id < id; };
  for (auto bias = std::lower_bound(own.biases->begin(), own.biases->end(), first, behind);
       bias != own.biases->end() && bias->id < first + count; ++bias) {
    drawn[bias->id - first] += bias->bias;
    if (std::isinf(bias->bias)) logits[bias->id - first] += bias->bias;  // no alternative either
  }
  if (drawn_.wants_log_probs() && !drawing.altered)
    drawing.blocks[block] = drawing.raw_blocks[block];
  else
    drawing.blocks[block] = k.softmax_block(count, drawn, static_cast<float>(drawing.sampling.scale()));
}

void Generation::draw(const Team& team, index stream, index at) {
  const Drawing& drawing = drawings_[stream];
  Stream& own = state_.at(stream);
  const SoftmaxRow drawn = row(drawing.logits, drawing.blocks, drawing.sampling.scale());
  const SoftmaxTotal total = total_of(drawn);
  if (!total.finite()) return finite_.store(false, std::memory_order_relaxed);
  const double u = uniform(own.seed, own.number, own.position + static_cast<std::uint64_t>(steps_));
  const std::int32_t id =
      recurlm::draw(drawing.sampling, drawn, total, u, candidates_ ? candidates_ + team.id * classes_ : nullptr);
  if (drawn_.wants_log_probs()) record(stream, id, at);
  drawn_.ids[at] = id;
  own.draw(id);
  next_.place(model_, stream, id);
  if (std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end()) end(stream);
}

void Generation::record(index stream, std::int32_t id, index at) const {
  const SoftmaxRow raw = row(next_.logits(stream), drawings_[stream].raw_blocks, 1.0);
  const SoftmaxTotal total = total_of(raw);
  if (drawn_.log_probs) drawn_.log_probs[at] = total.log_prob(raw.logits[id]);
  if (const index count = drawn_.alternatives)
    most_probable(raw, total, count, drawn_.alternative_ids + at * count, drawn_.alternative_log_probs + at * count);
}

void Generation::end(index stream) {
  state_.at(stream).finished = true;
  next_.end(stream);
  running_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace

void generate(const PackedModel& model, DecodingState& state, index count, const std::vector<Sampling>& sampling,
              const std::vector<std::int32_t>& stop_ids, const Drawn& drawn) {
  const index size = state.size() * count;
  if (size == 0) return;
  std::fill_n(drawn.ids, size, -1);
  if (drawn.log_probs) std::fill_n(drawn.log_probs, size, 0.0f);
  if (drawn.alternatives > 0) {
    std::fill_n(drawn.alternative_ids, size * drawn.alternatives, -1);
    std::fill_n(drawn.alternative_log_probs, size * drawn.alternatives, 0.0f);
  }
  const int threads = threads_for_token(model, state.size());
  Workspace::Frame frame(state.workspace);
  Generation generation(frame, model, state, sampling, stop_ids, drawn, threads);
  parallel(threads, [&](Team& team) { generation.draw_all(team, count); });
  generation.buffers().copy_states(model, generation.steps() % 2, state.states);
  for (Stream& stream : state.streams) stream.position += static_cast<std::uint64_t>(count);
  state.failed = !generation.finite();
  if (state.failed) throw std::domain_error("the model's output is not finite");
}

}  // namespace recurlm
