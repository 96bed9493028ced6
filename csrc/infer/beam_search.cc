#include "infer/beam_search.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "infer/next_logits.h"

namespace recurlm {

namespace {

class BeamSearch {
 public:
  // `state` has `width` streams that are the same.
  BeamSearch(Workspace::Frame& frame, const PackedModel& model, const DecodingState& state, const BeamOptions& options,
             const std::vector<std::int32_t>& stop_ids, int threads);

  std::vector<Hypothesis> run();

 private:
  // A beam with one token more.
  struct Extension {
    std::int32_t beam, id;
    float own;        // log-probability of the token
    double log_prob;  // of all
  };

  void look_ahead(Team& team) const;
  void prepare_block(index beam, index block) const;
  std::vector<Extension> extensions() const;
  void extend(const std::vector<Extension>& extensions);
  void place_beams(const std::vector<std::int32_t>& parents);
  void keep(Hypothesis hypothesis);
  bool settled() const;
  double score(double log_prob, index tokens) const {
    return log_prob / std::pow((5.0 + static_cast<double>(tokens)) / 6.0, options_.length_penalty);
  }

  const PackedModel& model_;
  const BeamOptions options_;
  const std::vector<std::int32_t>& stop_ids_;
  const TokenBiases& biases_;
  const index classes_, most_followers_;  // looked at for each beam: enough where all others end
  const int threads_;
  const NextLogits next_;
  SoftmaxBlock* blocks_;     // (width, blocks)
  std::int32_t* followers_;  // (width, most_followers)
  float* log_probs_;         // the same
  bool* finite_;             // (width)
  StreamStates states_;
  std::vector<Hypothesis> beams_{1};  // by descending log_prob; row b of everything is that of beam b
  std::vector<Hypothesis> kept_;      // by descending score
};

BeamSearch::BeamSearch(Workspace::Frame& frame, const PackedModel& model, const DecodingState& state, const BeamOptions& options,
                       const std::vector<std::int32_t>& stop_ids, int threads)
    : model_(model),
      options_(options),
      stop_ids_(stop_ids),
      biases_(*state.at(0).biases),
      classes_(model.classes()),
      most_followers_(std::min(classes_, options.width + static_cast<index>(stop_ids.size()))),
      threads_(threads),
      next_(frame, model, state, threads),
      blocks_(frame.take<SoftmaxBlock>(options.width * next_.blocks())),
      followers_(frame.take<std::int32_t>(options.width * most_followers_)),
      log_probs_(frame.take<float>(options.width * most_followers_)),
      finite_(frame.take<bool>(options.width)),
      states_(model, options.width) {}

std::vector<Hypothesis> BeamSearch::run() {
  for (index n = 0; n < options_.max_tokens && !beams_.empty() && !settled(); ++n) {
    parallel(threads_, [&](Team& team) { look_ahead(team); });
    if (!std::all_of(finite_, finite_ + beams_.size(), [](bool finite) { return finite; }))
      throw std::domain_error("the model's output is not finite");
    extend(extensions());
  }
  for (Hypothesis& beam : beams_)
    if (static_cast<index>(beam.ids.size()) == options_.max_tokens) keep(std::move(beam));
  return std::move(kept_);
}

void BeamSearch::look_ahead(Team& team) const {
  next_.run(team, 0, [&](index beam, index block) { prepare_block(beam, block); });
  const Range share = team.share(static_cast<index>(beams_.size()));
  for (index b = share.begin; b < share.end; ++b) {
    const SoftmaxRow row{classes_, next_.logits(b), blocks_ + b * next_.blocks(), 1.0};
    const SoftmaxTotal total = total_of(row);
    finite_[b] = total.finite();
    most_probable(row, total, most_followers_, followers_ + b * most_followers_, log_probs_ + b * most_followers_);
  }
}

void BeamSearch::prepare_block(index beam, index block) const {
  const index first = block * block_classes, count = next_.block_size(block);
  float* logits = next_.logits(beam) + first;
  blocks_[beam * next_.blocks() + block] = kernels::table().softmax_block(count, logits, 1.0f);
  for (const TokenBias& bias : biases_)
    if (bias.id >= first && bias.id < first + count && std::isinf(bias.bias)) logits[bias.id - first] = bias.bias;
}

// All that are looked at, the most probable first.
std::vector<BeamSearch::Extension> BeamSearch::extensions() const {
  std::vector<Extension> found;
  for (std::size_t b = 0; b < beams_.size(); ++b)
    for (index i = 0; i < most_followers_; ++i) {
      const index at = static_cast<index>(b) * most_followers_ + i;
      if (followers_[at] < 0) break;
      found.push_back({static_cast<std::int32_t>(b), followers_[at], log_probs_[at],
                       beams_[b].log_prob + static_cast<double>(log_probs_[at])});
    }
  std::stable_sort(found.begin(), found.end(), [](const Extension& a, const Extension& b) { return a.log_prob > b.log_prob; });
  return found;
}

// The best that go on become the beams; those before the last of them that end are kept.
void BeamSearch::extend(const std::vector<Extension>& extensions) {
  std::vector<Hypothesis> beams;
  std::vector<std::int32_t> parents;
  for (const Extension& extension : extensions) {
    if (static_cast<index>(beams.size()) == options_.width) break;
    Hypothesis longer = beams_[static_cast<std::size_t>(extension.beam)];
    longer.ids.push_back(extension.id);
    longer.log_probs.push_back(extension.own);
    longer.log_prob = extension.log_prob;
    longer.ended = std::find(stop_ids_.begin(), stop_ids_.end(), extension.id) != stop_ids_.end();
    if (longer.ended) {
      keep(std::move(longer));
      continue;
    }
    parents.push_back(extension.beam);
    beams.push_back(std::move(longer));
  }
  beams_ = std::move(beams);
  place_beams(parents);
}

// The beams' states become those before the next step, and their last tokens what it reads.
void BeamSearch::place_beams(const std::vector<std::int32_t>& parents) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(options_.width));  // those of no beam go on as the first one does
  std::copy(parents.begin(), parents.end(), rows.begin());
  next_.buffers().copy_states(model_, 1, states_);
  next_.buffers().place_states(model_, states_, rows.data());
  for (std::size_t b = 0; b < beams_.size(); ++b) next_.place(model_, static_cast<index>(b), beams_[b].ids.back());
}

void BeamSearch::keep(Hypothesis hypothesis) {
  hypothesis.score = score(hypothesis.log_prob, static_cast<index>(hypothesis.ids.size()));
  const auto place = std::upper_bound(kept_.begin(), kept_.end(), hypothesis,
                                      [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  kept_.insert(place, std::move(hypothesis));
  if (static_cast<index>(kept_.size()) > options_.best) kept_.pop_back();
}

// Whether no beam can come to a better score than those that are kept: more tokens never make a text more probable.
bool BeamSearch::settled() const {
  if (static_cast<index>(kept_.size()) < options_.best) return false;
  const Hypothesis& best = beams_.front();
  const auto tokens = static_cast<index>(best.ids.size());
  return kept_.back().score >= std::max(score(best.log_prob, tokens), score(best.log_prob, options_.max_tokens));
}

}  // namespace

std::vector<Hypothesis> search_beams(const PackedModel& model, const DecodingState& state, const BeamOptions& options,
                                     const std::vector<std::int32_t>& stop_ids) {
  DecodingState start = state.select(std::vector<index>(static_cast<std::size_t>(options.width), 0));
  const int threads = threads_for_token(model, options.width);
  Workspace::Frame frame(start.workspace);
  return BeamSearch(frame, model, start, options, stop_ids, threads).run();
}

}  // namespace recurlm
