#include "infer/decoder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/table.h"
#include "ops/embedding.h"

namespace recurlm {

namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

DecodingState::DecodingState(const DecodingState& other)
    : decoder_(other.decoder_),
      streams_(other.streams_),
      seed_(other.seed_),
      position_(other.position_),
      h_(other.h_),
      c_(other.c_),
      next_(other.next_),
      seen_(other.seen_),
      banned_(other.banned_),
      finished_(other.finished_),
      logits_(other.logits_),
      samplers_(other.samplers_) {}

Decoder::Decoder(ConstMatrixView embedding, const std::vector<DecoderLayer>& layers, const LinearWeights& projection)
    : id_(next_id()),
      embedding_(embedding.data, embedding.data + embedding.size()),
      embedding_rows_(embedding.rows),
      embedding_cols_(embedding.cols),
      classes_(projection.outputs()),
      projection_(frame_, projection),
      kernel_(frame_.take_panels(projection_.forward().depth, projection_.forward().panels)) {
  for (const DecoderLayer& layer : layers) {
    const CellSpec& spec = layer.spec;
    const Column* columns = take_gate_columns(frame_, spec);
    layers_.push_back({spec, take_packed_cell(frame_, spec, columns, frame_.take_panels(spec.input_dim, spec.panels()))});
  }
  parallel(threads_for(static_cast<double>(storage_.nbytes())), [&](Team& team) {
    pack(team, projection_.forward(), kernel_);
    pack_bias(team, projection.bias, projection_.output_columns, kernel_.panels, 0.0f, projection_.bias);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const PackedCell& packed = layers_[l].packed;
      pack(team, Packable::columns_of(layers[l].weights.kernel, packed.columns, packed.kernel.panels()), packed.kernel.packed);
      pack_cell(team, layers[l].spec, layers[l].weights, packed);
    }
  });
}

double Decoder::operations(index rows) const {
  double products = 0;
  for (const Layer& layer : layers_)
    products += static_cast<double>(layer.spec.gates() * layer.spec.units * (layer.spec.input_dim + layer.spec.units));
  return 2 * products * static_cast<double>(rows);
}

DecodingState Decoder::begin(const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                             const std::vector<std::int32_t>& banned) const {
  const auto streams = prompts.size(), classes = static_cast<std::size_t>(classes_);
  DecodingState state(id_, static_cast<index>(streams), seed);
  for (const Layer& layer : layers_) {
    const std::size_t size = streams * static_cast<std::size_t>(layer.spec.units);
    state.h_.emplace_back(size);
    state.c_.emplace_back(layer.spec.kind == CellKind::lstm ? size : 0);
  }
  state.seen_.resize(streams * classes);
  state.banned_.resize(classes);
  state.finished_.resize(streams);
  state.logits_.resize(streams * classes);
  state.samplers_.resize(streams);
  for (std::int32_t id : banned) state.banned_[static_cast<std::size_t>(id)] = 1;

  std::size_t longest = 0;
  for (std::size_t s = 0; s < streams; ++s) {
    state.next_.push_back(prompts[s].back());
    longest = std::max(longest, prompts[s].size() - 1);
    for (std::int32_t id : prompts[s])
      if (id < classes_) state.seen_[s * classes + static_cast<std::size_t>(id)] = 1;
  }
  // Everything but the last token, in windows that bound the memory of a long prompt; shorter prompts are masked.
  constexpr std::size_t window = 64;
  std::vector<std::int32_t> ids(window * streams);
  std::vector<unsigned char> mask(window * streams);
  for (std::size_t first = 0; first < longest; first += window) {
    const std::size_t steps = std::min(window, longest - first);
    for (std::size_t t = 0; t < steps; ++t)
      for (std::size_t s = 0; s < streams; ++s) {
        const bool present = first + t + 1 < prompts[s].size();
        mask[t * streams + s] = present;
        ids[t * streams + s] = present ? prompts[s][first + t] : 0;
      }
    read(state, static_cast<index>(steps), ids.data(), mask.data());
  }
  return state;
}

void Decoder::read(DecodingState& state, index steps, const std::int32_t* ids, const unsigned char* mask) const {
  Workspace::Frame frame(state.workspace_);
  const index streams = state.streams_, rows = steps * streams;
  auto* embedded = frame.take<float>(rows * embedding_cols_);
  embedding_forward(rows, ids, {embedding_.data(), embedding_rows_, embedding_cols_}, embedded);
  const float* x = embedded;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const CellSpec& spec = layers_[l].spec;
    const index size = streams * spec.units;
    const auto bytes = static_cast<std::size_t>(size) * sizeof(float);
    const bool has_c = spec.kind == CellKind::lstm;
    auto* h = frame.take<float>((steps + 1) * size);
    auto* c = has_c ? frame.take<float>((steps + 1) * size) : nullptr;
    std::memcpy(h, state.h_[l].data(), bytes);
    if (has_c) std::memcpy(c, state.c_[l].data(), bytes);
    const Sequence sequence{steps, streams, {x, rows, spec.input_dim}, nullptr, mask, false, h, c,
                            frame.take<float>(spec.saved_size(steps, streams))};
    const CellRun run(frame, spec, sequence);
    parallel(threads_for(operations(streams)), [&](Team& team) { run_forward(team, run, layers_[l].packed); });
    std::memcpy(state.h_[l].data(), h + steps * size, bytes);
    if (has_c) std::memcpy(state.c_[l].data(), c + steps * size, bytes);
    x = h + size;
  }
}

void Decoder::project(DecodingState& state) const {
  const index units = projection_.weights.inputs();
  const Operand h = Operand::row_major({state.h_.back().data(), state.streams_, units});
  parallel(threads_for(2.0 * static_cast<double>(state.streams_ * units * classes_)), [&](Team& team) {
    multiply(team, {h, kernel_, {state.logits_.data(), classes_, projection_.output_columns}, Init::bias,
                    projection_.bias});
  });
}

void Decoder::sample(DecodingState& state, index stream, const Sampling& sampling,
                     const std::vector<std::int32_t>& stop_ids, std::int32_t* id, float* log_prob) const {
  const auto s = static_cast<std::size_t>(stream), classes = static_cast<std::size_t>(classes_);
  *id = -1;
  *log_prob = 0;
  if (state.finished_[s]) return;
  float* logits = state.logits_.data() + s * classes;
  std::uint8_t* seen = state.seen_.data() + s * classes;
  const double log_sum = kernels::table().log_sum_exp(classes_, logits);
  if (!std::isfinite(log_sum)) throw std::domain_error("the model's output is not finite");
  for (std::size_t v = 0; v < classes; ++v)
    if (state.banned_[v]) logits[v] = -std::numeric_limits<float>::infinity();
  const double u = uniform(state.seed_, static_cast<std::uint32_t>(stream), state.position_);
  *id = state.samplers_[s].draw(sampling, classes_, logits, seen, u);
  *log_prob = static_cast<float>(static_cast<double>(logits[*id]) - log_sum);
  seen[*id] = 1;
  state.next_[s] = *id;
  state.finished_[s] = std::find(stop_ids.begin(), stop_ids.end(), *id) != stop_ids.end();
}

void Decoder::generate(DecodingState& state, index count, const Sampling& sampling,
                       const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs) const {
  for (index n = 0; n < count; ++n) {
    read(state, 1, state.next_.data(), nullptr);
    project(state);
    for (index s = 0; s < state.streams_; ++s)
      sample(state, s, sampling, stop_ids, ids + s * count + n, log_probs + s * count + n);
    ++state.position_;
  }
}

}  // namespace recurlm
