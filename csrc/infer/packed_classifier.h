// A trained classifier of sequences of ids, or of their steps, for running only: embedding, recurrent layers that read in one
// direction or in both, pooling over the steps or none, projection to the classes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "infer/packed_layer.h"

namespace recurlm {

// What the projection sees of the last layer: its last state, of each unit the greatest output or the mean, or each step.
enum class Pooling { last, max, mean, none };

struct ClassifierLayer {
  ModelLayer forward;
  std::optional<ModelLayer> backward;  // reads from the end; its outputs stand behind those of the other
};

// kernel (D, C), bias (C).
struct ClassifierOutput {
  StoredMatrix kernel;
  const float* bias;
};

class PackedClassifier {
 public:
  // embedding (S, E) with scales of rows; everything is copied. With `masks` the id 0 is padding: a masked step.
  PackedClassifier(const StoredMatrix& embedding, bool masks, const std::vector<ClassifierLayer>& layers, Pooling pooling,
                   const ClassifierOutput& output);

  index symbols() const { return embedding_.rows; }
  index classes() const { return classes_; }
  bool classifies_steps() const { return pooling_ == Pooling::none; }

  // Log-probabilities (sequences, C), or (ids, C) where it classifies steps: sequence i is ids[offsets[i]] to ids[offsets[i + 1]], of 0
  // to below symbols(). The bits are the same for a sequence alone and among others.
  void classify(const std::vector<index>& offsets, const std::int32_t* ids, float* log_probs) const;

 private:
  struct Layer {
    PackedLayer forward;
    std::optional<PackedLayer> backward;

    index width() const { return forward.spec.units * (backward ? 2 : 1); }
  };
  class Batch;

  PackedLayer place(const ModelLayer& layer);
  void pack(const std::vector<ClassifierLayer>& layers, const ClassifierOutput& output);

  const Pooling pooling_;
  const bool masks_;
  Workspace storage_;
  Workspace::Frame frame_{storage_};
  StoredMatrix embedding_;
  std::vector<Layer> layers_;
  index classes_;
  PackedWeights kernel_;
  float* bias_;
};

}  // namespace recurlm
