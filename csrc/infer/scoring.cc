#include "infer/scoring.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>

#include "infer/output.h"
#include "infer/prefix_tree.h"

namespace recurlm {

namespace {

// Rows that share a pass over the projection's weights: enough to hide reading them from memory.
constexpr index most_rows = 256;
// Texts that are read side by side: enough rows for whole tiles of a product.
constexpr index most_texts = 64;

// Collects outputs of the top layer, and projects them as often as there are enough.
class Scorer {
 public:
  // For a team of at most `threads`.
  Scorer(const PackedModel& model, const Scores& scores, int threads);

  // h (H) predicts what follows; add_target: that `target` does, for place `at` of the results.
  void add_row(const float* h);
  void add_target(std::int32_t target, index at) { targets_.push_back({target, at}); }
  void finish();

 private:
  struct Wanted {
    std::int32_t target;
    index at;
  };
  void project(const Team& team) const;
  void read_block(index block, index row, index rows, const float* logits) const;
  void resolve(index row) const;
  void resolve_alternatives(index row, const SoftmaxTotal& total, index at) const;

  const PackedModel& model_;
  const Scores scores_;
  Workspace workspace_;
  Workspace::Frame frame_{workspace_};
  const int threads_;
  const OutputLayer output_;
  float *h_, *rooms_;       // (rows, H); for each thread (rows, block_classes)
  SoftmaxBlock* blocks_;    // (rows, blocks)
  std::int32_t* best_ids_;  // (rows, blocks, A) the most probable of each block, and their logits
  float* best_logits_;
  index rows_ = 0;
  std::vector<Wanted> targets_;
  std::vector<std::size_t> first_target_;  // of each row
};

Scorer::Scorer(const PackedModel& model, const Scores& scores, int threads)
    : model_(model),
      scores_(scores),
      threads_(std::min(threads, threads_for(model.projection_operations() * most_rows))),
      output_(frame_, model, threads_),
      h_(frame_.take<float>(most_rows * model.output_units())),
      rooms_(frame_.take<float>(threads_ * most_rows * block_classes)),
      blocks_(frame_.take<SoftmaxBlock>(most_rows * output_.blocks())),
      best_ids_(frame_.take<std::int32_t>(most_rows * output_.blocks() * scores.alternatives)),
      best_logits_(frame_.take<float>(most_rows * output_.blocks() * scores.alternatives)) {}

void Scorer::add_row(const float* h) {
  if (rows_ == most_rows) finish();
  std::copy_n(h, model_.output_units(), h_ + rows_++ * model_.output_units());
  first_target_.push_back(targets_.size());
}

void Scorer::finish() {
  if (rows_ == 0) return;
  first_target_.push_back(targets_.size());
  const int threads = std::min(threads_, threads_for(model_.projection_operations() * static_cast<double>(rows_)));
  parallel(threads, [&](Team& team) {
    project(team);
    team.barrier();
    const Range share = team.share(rows_);
    for (index r = share.begin; r < share.end; ++r) resolve(r);
  });
  rows_ = 0;
  targets_.clear();
  first_target_.clear();
}

void Scorer::project(const Team& team) const {
  float* logits = rooms_ + team.id * most_rows * block_classes;
  const index units = model_.output_units();
  for_share(team, output_.blocks(), rows_, kernels::table().gemm_rows,
            [&](index block, index blocks, index row, index rows) {
              for (index b = block; b < block + blocks; ++b) {
                output_.multiply_block(team, Operand::row_major({h_ + row * units, rows, units}), b, logits, block_classes);
                read_block(b, row, rows, logits);
              }
            });
}

// What is wanted of a block of logits, before the next one takes its room: statistics, and the targets' logits.
void Scorer::read_block(index block, index row, index rows, const float* logits) const {
  for (index r = row; r < row + rows; ++r, logits += block_classes) {
    const index at = r * output_.blocks() + block, count = scores_.alternatives;
    blocks_[at] = kernels::table().softmax_block(output_.block_size(block), logits, 1.0f);
    if (count > 0) greatest(output_.block_size(block), logits, count, best_ids_ + at * count, best_logits_ + at * count);
    for (std::size_t i = first_target_[static_cast<std::size_t>(r)]; i < first_target_[static_cast<std::size_t>(r) + 1]; ++i)
      if (targets_[i].target / block_classes == block)
        scores_.log_probs[targets_[i].at] = logits[targets_[i].target % block_classes];
  }
}

void Scorer::resolve(index row) const {
  const SoftmaxTotal total = total_of({model_.classes(), nullptr, blocks_ + row * output_.blocks(), 1.0});
  const double log_sum = std::log(total.sum);
  for (std::size_t i = first_target_[static_cast<std::size_t>(row)]; i < first_target_[static_cast<std::size_t>(row) + 1]; ++i) {
    float& log_prob = scores_.log_probs[targets_[i].at];
    log_prob = static_cast<float>(static_cast<double>(log_prob) - total.maximum - log_sum);
    scores_.predictions[targets_[i].at] = total.at;
    if (scores_.alternatives > 0) resolve_alternatives(row, total, targets_[i].at);
  }
}

// The greatest of the greatest of each block.
void Scorer::resolve_alternatives(index row, const SoftmaxTotal& total, index at) const {
  const index count = scores_.alternatives, all = output_.blocks() * count;
  const std::int32_t* best_ids = best_ids_ + row * all;
  std::int32_t* ids = scores_.alternative_ids + at * count;
  float* log_probs = scores_.alternative_log_probs + at * count;
  greatest(all, best_logits_ + row * all, count, ids, log_probs);
  for (index i = 0; i < count; ++i) {
    if (ids[i] < 0) break;
    log_probs[i] = total.log_prob(log_probs[i]);
    ids[i] = static_cast<std::int32_t>(ids[i] / count * block_classes) + best_ids[ids[i]];
  }
}

using Batch = std::vector<Text>;

// Texts that share half of their tokens with a neighbour in sorted order, at most `most` of them together.
std::vector<Batch> make_families(std::vector<Text> texts, std::size_t most) {
  std::sort(texts.begin(), texts.end(), precedes);
  std::vector<Batch> families;
  for (const Text& text : texts) {
    if (families.empty() || families.back().size() == most || 2 * common_length(families.back().back(), text) < text.length)
      families.emplace_back();
    families.back().push_back(text);
  }
  return families;
}

// Batches of even size, as many for each thread, in which texts of a family and of similar length are together.
std::vector<Batch> make_batches(std::vector<Text> texts, int threads) {
  const auto count = static_cast<index>(texts.size());
  const index rounds = ceil_div(count, threads * most_texts);
  const auto size = static_cast<std::size_t>(ceil_div(count, threads * std::max(rounds, index{1})));
  std::vector<Batch> families = make_families(std::move(texts), std::max(size, std::size_t{1}));
  std::stable_sort(families.begin(), families.end(),
                   [](const Batch& a, const Batch& b) { return a.back().length > b.back().length; });
  std::vector<Batch> batches;
  for (const Batch& family : families) {
    if (batches.empty() || batches.back().size() + family.size() > size) batches.emplace_back();
    batches.back().insert(batches.back().end(), family.begin(), family.end());
  }
  return batches;
}

// Batches, one after another, in the same memory.
class BatchScorer {
 public:
  BatchScorer(const PackedModel& model, const std::vector<index>& offsets, const std::int32_t* ids, const Scores& scores,
              int threads)
      : model_(model), offsets_(offsets), ids_(ids), scorer_(model, scores, threads) {}

  void score(const Batch& batch);

 private:
  const PackedModel& model_;
  const std::vector<index>& offsets_;
  const std::int32_t* ids_;
  Workspace workspace_;
  Scorer scorer_;
};

void BatchScorer::score(const Batch& batch) {
  PrefixTree tree(batch);
  TreeReader reader(model_, workspace_);
  while (const Segment* segment = tree.next())
    reader.read(*segment, tree, [&](const float* h) {
      for (index t = 0; t < segment->steps; ++t)
        for (index row = 0; row < segment->rows(); ++row, h += model_.output_units()) {
          scorer_.add_row(h);
          for (const Text& text : tree.texts_of(*segment, row)) {
            const index at = offsets_[text.tag] + segment->depth + t;
            scorer_.add_target(ids_[at], at);
          }
        }
    });
  scorer_.finish();
}

// visit(i) for i in [0, count), on as many threads; what it calls runs on one. The first exception goes on to the caller.
template <typename Make, typename Visit>
void for_each_in_parallel(int threads, std::size_t count, Make&& make, Visit&& visit) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  parallel(threads, [&](Team&) {
    try {
      auto own = make();
      for (std::size_t i = next++; i < count; i = next++) visit(*own, i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace

void score_texts(const PackedModel& model, const std::vector<index>& offsets, const std::int32_t* ids, std::int32_t first_id,
                 const Scores& scores) {
  std::vector<std::int32_t> inputs(static_cast<std::size_t>(offsets.back()));
  std::vector<Text> texts;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const index first = offsets[i], length = offsets[i + 1] - first;
    if (length == 0) continue;
    std::int32_t* input = inputs.data() + first;
    input[0] = first_id;
    std::copy_n(ids + first, length - 1, input + 1);
    texts.push_back({input, length, i});
  }
  const double work = (model.recurrent_operations() + model.projection_operations()) * static_cast<double>(inputs.size());
  const int threads = threads_for(work);
  // Threads that have texts of their own never wait for one another; where these are few, all work on each.
  const bool apart = static_cast<index>(texts.size()) >= 4 * threads;
  const auto make = [&] { return std::make_unique<BatchScorer>(model, offsets, ids, scores, apart ? 1 : threads); };
  const std::vector<Batch> batches = make_batches(std::move(texts), apart ? threads : 1);
  if (apart) {
    for_each_in_parallel(threads, batches.size(), make, [&](BatchScorer& own, std::size_t i) { own.score(batches[i]); });
  } else {
    const auto scorer = make();
    for (const Batch& batch : batches) scorer->score(batch);
  }
}

void score_streams(const PackedModel& model, DecodingState& state, index steps, const std::int32_t* ids, const Scores& scores) {
  const index streams = state.size(), units = model.output_units();
  if (steps == 0 || streams == 0) return;
  Scorer scorer(model, scores, get_num_threads());
  const index most_steps = std::max(PrefixTree::most_positions / streams, index{1});
  for (index first = 0; first < steps; first += most_steps) {
    const index count = std::min(steps - first, most_steps);
    Workspace::Frame frame(state.workspace);
    StackBuffers buffers(frame, model, count, streams);
    buffers.place_states(model, state.states);
    for (index s = 0; s < streams; ++s)
      for (index t = 0; t < count; ++t) {
        Stream& stream = state.at(s);
        buffers.place(model, t * streams + s, stream.next);
        stream.next = ids[s * steps + first + t];
        stream.seen[static_cast<std::size_t>(stream.next)] = 1;
      }
    const float* h = run_layers(frame, model, buffers);
    buffers.copy_states(model, count, state.states);
    for (index t = 0; t < count; ++t)
      for (index s = 0; s < streams; ++s, h += units) {
        const index at = s * steps + first + t;
        scorer.add_row(h);
        scorer.add_target(ids[at], at);
      }
  }
  scorer.finish();
}

}  // namespace recurlm
