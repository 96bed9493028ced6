#include "infer/packed_classifier.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace recurlm {

namespace {

// Sequences side by side, and steps of them all together: enough for the products; the outputs and gates of a layer of 128 units
// then take some 40 MB. A sequence that is longer is alone.
constexpr std::size_t most_rows = 32;
constexpr index most_positions = index{1} << 13;

StoredMatrix copy_of(Workspace::Frame& frame, const StoredMatrix& matrix) {
  StoredMatrix copy = matrix;
  auto* data = frame.take<std::byte>(static_cast<index>(matrix.nbytes()));
  std::memcpy(data, matrix.data, matrix.nbytes());
  copy.data = data;
  if (!matrix.scales) return copy;
  auto* scales = frame.take<float>(matrix.rows);
  std::copy_n(matrix.scales, matrix.rows, scales);
  copy.scales = scales;
  return copy;
}

// A NaN stays one.
float greater(float a, float b) { return std::isnan(a) || a >= b ? a : b; }

void log_softmax(index classes, float* row) {
  const float greatest = *std::max_element(row, row + classes);
  double sum = 0;
  for (index c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(row[c] - greatest));
  for (index c = 0; c < classes; ++c) row[c] = static_cast<float>(static_cast<double>(row[c] - greatest) - std::log(sum));
}

}  // namespace

PackedClassifier::PackedClassifier(const StoredMatrix& embedding, bool masks, const std::vector<ClassifierLayer>& layers,
                                   Pooling pooling, const ClassifierOutput& output)
    : pooling_(pooling), masks_(masks), embedding_(copy_of(frame_, embedding)), classes_(output.kernel.cols) {
  for (const ClassifierLayer& layer : layers) {
    layers_.push_back({place(layer.forward), std::nullopt});
    if (layer.backward) layers_.back().backward = place(*layer.backward);
  }
  kernel_ = take_weights(frame_, output.kernel.precision, output.kernel.rows, panels_of(classes_));
  bias_ = frame_.take<float>(kernel_.panels * panel_width);
  pack(layers, output);
}

PackedLayer PackedClassifier::place(const ModelLayer& layer) {
  PackedLayer placed = PackedLayer::of(layer);
  const index depth = layer.spec.input_dim, panels = layer.spec.panels();
  placed.columns = take_gate_columns(frame_, layer.spec);
  placed.kernel = take_weights(frame_, layer.kernel.precision, depth, panels);
  placed.recurrent_kernel = take_weights(frame_, layer.recurrent_kernel.precision, layer.spec.units, panels);
  placed.bias = frame_.take<float>(panels * panel_width);
  placed.recurrent_bias = frame_.take<float>(panels * panel_width);
  return placed;
}

void PackedClassifier::pack(const std::vector<ClassifierLayer>& layers, const ClassifierOutput& output) {
  Workspace workspace;
  Workspace::Frame frame(workspace);
  const Column* columns = natural_columns(frame, classes_);
  parallel(threads_for(static_cast<double>(storage_.nbytes())), [&](Team& team) {
    pack_columns(team, output.kernel, columns, kernel_);
    pack_bias(team, output.bias, columns, kernel_.panels, 0.0f, bias_);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      layers_[l].forward.pack(team, layers[l].forward);
      if (layers[l].backward) layers_[l].backward->pack(team, *layers[l].backward);
    }
  });
}

// Sequences of similar length, side by side, and padded. The steps of padding are masked: they pass the state on.
class PackedClassifier::Batch {
 public:
  Batch(Workspace& workspace, const PackedClassifier& classifier, index steps, index rows);

  void place(index row, const std::int32_t* ids, index length);
  std::vector<float> classify();  // (B, C), or (T * B, C)

 private:
  struct Outputs {
    float* forward;   // (T + 1, B, H) of states, the initial one first
    float* backward;  // the same, but the initial one last; or null
  };

  Outputs run(const Layer& layer, const float* x);
  const float* join(const Layer& layer, const Outputs& outputs);
  const float* last_states(const Layer& layer, const Outputs& outputs);
  const float* pool(index width, const float* outputs);
  void pool_row(index row, index width, const float* outputs, float* pooled) const;
  void project(const float* x, index rows, float* logits);
  index positions() const { return steps_ * rows_; }

  Workspace& workspace_;
  Workspace::Frame frame_{workspace_};
  const PackedClassifier& classifier_;
  const index steps_, rows_;
  float* x_;             // (T * B, E)
  unsigned char* mask_;  // (T, B)
};

PackedClassifier::Batch::Batch(Workspace& workspace, const PackedClassifier& classifier, index steps, index rows)
    : workspace_(workspace), classifier_(classifier), steps_(steps), rows_(rows),
      x_(frame_.take<float>(positions() * classifier.embedding_.cols)), mask_(frame_.take<unsigned char>(positions())) {}

void PackedClassifier::Batch::place(index row, const std::int32_t* ids, index length) {
  for (index t = 0; t < steps_; ++t) {
    const index at = t * rows_ + row;
    const std::int32_t id = t < length ? ids[t] : 0;
    mask_[at] = t < length && !(classifier_.masks_ && id == 0);
    classifier_.embedding_.expand_row(id, x_ + at * classifier_.embedding_.cols);
  }
}

std::vector<float> PackedClassifier::Batch::classify() {
  const float* x = x_;
  const Pooling pooling = classifier_.pooling_;
  for (const Layer& layer : classifier_.layers_) {
    const bool last = &layer == &classifier_.layers_.back();
    const Outputs outputs = run(layer, x);
    x = last && pooling == Pooling::last ? last_states(layer, outputs) : join(layer, outputs);
    if (last && (pooling == Pooling::max || pooling == Pooling::mean)) x = pool(layer.width(), x);
  }
  const index classes = classifier_.classes_, rows = classifier_.classifies_steps() ? positions() : rows_;
  std::vector<float> log_probs(static_cast<std::size_t>(rows * classes));
  project(x, rows, log_probs.data());
  for (index row = 0; row < rows; ++row) log_softmax(classes, log_probs.data() + row * classes);
  return log_probs;
}

// One direction after the other, in the same memory: nothing that steps save is needed later.
PackedClassifier::Batch::Outputs PackedClassifier::Batch::run(const Layer& layer, const float* x) {
  const CellSpec& spec = layer.forward.spec;
  const index state = rows_ * spec.units, size = (steps_ + 1) * state;
  const bool has_c = spec.kind == CellKind::lstm;
  const Outputs outputs{frame_.take<float>(size), layer.backward ? frame_.take<float>(size) : nullptr};
  const int threads = threads_for(layer.forward.operations() * static_cast<double>(rows_));
  const auto one_way = [&](const PackedLayer& way, float* h, bool reverse) {
    Workspace::Frame frame(workspace_);
    auto* c = has_c ? frame.take<float>(size) : nullptr;
    auto* saved = frame.take<float>(spec.saved_size(steps_, rows_));
    const index initial = reverse ? steps_ * state : 0;
    std::fill_n(h + initial, state, 0.0f);
    if (c) std::fill_n(c + initial, state, 0.0f);
    const CellRun run(frame, spec, {steps_, rows_, {x, positions(), spec.input_dim}, nullptr, mask_, reverse, h, c, saved});
    const PackedCell weights = way.with_room(frame, threads);
    parallel(threads, [&](Team& team) { run_forward(team, run, weights); });
  };
  one_way(layer.forward, outputs.forward, false);
  if (layer.backward) one_way(*layer.backward, outputs.backward, true);
  return outputs;
}

// The outputs of both directions side by side, (T * B, 2 * H), of which those at masked steps are 0.
const float* PackedClassifier::Batch::join(const Layer& layer, const Outputs& outputs) {
  const index units = layer.forward.spec.units;
  const float* forward = outputs.forward + rows_ * units;
  if (!outputs.backward) return forward;
  auto* joined = frame_.take<float>(positions() * 2 * units);
  for (index r = 0; r < positions(); ++r) {
    float* to = joined + r * 2 * units;
    if (mask_[r]) {
      std::copy_n(forward + r * units, units, to);
      std::copy_n(outputs.backward + r * units, units, to + units);
    } else {
      std::fill_n(to, 2 * units, 0.0f);
    }
  }
  return joined;
}

// What each direction has come to in the end, side by side: (B, D).
const float* PackedClassifier::Batch::last_states(const Layer& layer, const Outputs& outputs) {
  const index units = layer.forward.spec.units, width = layer.width();
  auto* states = frame_.take<float>(rows_ * width);
  for (index row = 0; row < rows_; ++row) {
    std::copy_n(outputs.forward + (steps_ * rows_ + row) * units, units, states + row * width);
    if (outputs.backward) std::copy_n(outputs.backward + row * units, units, states + row * width + units);
  }
  return states;
}

// (T * B, D) to (B, D).
const float* PackedClassifier::Batch::pool(index width, const float* outputs) {
  auto* pooled = frame_.take<float>(rows_ * width);
  for (index row = 0; row < rows_; ++row) pool_row(row, width, outputs, pooled + row * width);
  return pooled;
}

// The mean is that of the steps that are not masked. The greatest is that of all, as in Keras, but of nothing beyond the end of a
// sequence without padding.
void PackedClassifier::Batch::pool_row(index row, index width, const float* outputs, float* pooled) const {
  const bool greatest = classifier_.pooling_ == Pooling::max;
  index count = 0;
  std::fill_n(pooled, width, greatest ? -std::numeric_limits<float>::infinity() : 0.0f);
  for (index t = 0; t < steps_; ++t) {
    const index at = t * rows_ + row;
    if (!mask_[at] && !(greatest && classifier_.masks_)) continue;
    ++count;
    const float* h = outputs + at * width;
    for (index u = 0; u < width; ++u) pooled[u] = greatest ? greater(pooled[u], h[u]) : pooled[u] + h[u];
  }
  if (greatest) return;
  for (index u = 0; u < width; ++u) pooled[u] /= static_cast<float>(std::max(count, index{1}));
}

void PackedClassifier::Batch::project(const float* x, index rows, float* logits) {
  const index width = classifier_.layers_.back().width(), classes = classifier_.classes_;
  const int threads = threads_for(2.0 * static_cast<double>(rows * width * classes));
  const Product product{Operand::row_major({x, rows, width}), RightOperand(frame_, classifier_.kernel_, threads),
                        {logits, classes, natural_columns(frame_, classes)}, Init::bias, classifier_.bias_};
  parallel(threads, [&](Team& team) { multiply(team, product); });
}

void PackedClassifier::classify(const std::vector<index>& offsets, const std::int32_t* ids, float* log_probs) const {
  const auto length = [&](std::size_t i) { return offsets[i + 1] - offsets[i]; };
  std::vector<std::size_t> order(offsets.size() - 1);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return length(a) > length(b); });
  // The greatest output of such a layer is not below that of padding: a step of it stands behind every sequence.
  const index padding = masks_ && pooling_ == Pooling::max && layers_.back().backward ? 1 : 0;
  Workspace workspace;
  for (std::size_t first = 0; first < order.size();) {
    const index steps = std::max(length(order[first]) + padding, index{1});
    const std::size_t fitting = std::max(static_cast<std::size_t>(most_positions / steps), std::size_t{1});
    const std::size_t rows = std::min({order.size() - first, most_rows, fitting});
    Batch batch(workspace, *this, steps, static_cast<index>(rows));
    for (std::size_t row = 0; row < rows; ++row)
      batch.place(static_cast<index>(row), ids + offsets[order[first + row]], length(order[first + row]));
    const std::vector<float> found = batch.classify();
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t sequence = order[first + row];
      const index results = classifies_steps() ? length(sequence) : 1;
      const index to = classifies_steps() ? offsets[sequence] : static_cast<index>(sequence);
      for (index t = 0; t < results; ++t)
        std::copy_n(found.data() + (t * static_cast<index>(rows) + static_cast<index>(row)) * classes_, classes_,
                    log_probs + (to + t) * classes_);
    }
    first += rows;
  }
}

}  // namespace recurlm
