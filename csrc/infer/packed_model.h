// A trained language model for running only: embedding, recurrent layers and projection, packed once and never changed.
//
// No cell is written here: a decoding step is the training op with one time step and weights packed beforehand.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/recurrent.h"

namespace recurlm {

struct ModelLayer {
  CellSpec spec;
  StoredMatrix kernel, recurrent_kernel;  // Keras layout, as CellWeights
  const float* bias;
};

// kernel (H, V) or, transposed, (V, H).
struct ModelProjection {
  StoredMatrix kernel;
  bool transposed;
  const float* bias;  // (V) or null

  index inputs() const { return transposed ? kernel.cols : kernel.rows; }
  index outputs() const { return transposed ? kernel.rows : kernel.cols; }
};

class PackedModel {
 public:
  struct Layer {
    CellSpec spec;
    const Column* columns;
    PackedWeights kernel, recurrent_kernel;
    float *bias, *recurrent_bias;

    PackedCell with_room(Workspace::Frame& frame, int threads) const;
  };

  // embedding (V, E) with scales of rows; everything is copied.
  PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers, const ModelProjection& projection);

  std::uint64_t id() const { return id_; }
  index vocabulary_size() const { return embedding_.rows; }
  index classes() const { return classes_; }
  const StoredMatrix& embedding() const { return embedding_; }
  const std::vector<Layer>& layers() const { return layers_; }
  // For every token the first layer's part of the sums, where that takes little memory; else null.
  const Panels* table() const { return table_.data ? &table_ : nullptr; }
  const PackedWeights& projection() const { return projection_; }
  const float* projection_bias() const { return projection_bias_; }
  index output_units() const { return layers_.back().spec.units; }

  std::size_t nbytes() const { return storage_.nbytes(); }
  // Of the weights that a decoding step of one stream reads.
  std::size_t read_bytes() const;
  // Floating-point operations of the recurrent layers, and of the projection, on one token.
  double recurrent_operations() const;
  double projection_operations() const;

 private:
  void copy_embedding(const StoredMatrix& embedding);
  void pack(const std::vector<ModelLayer>& layers, const ModelProjection& projection);
  void make_table();

  const std::uint64_t id_;
  Workspace storage_;
  Workspace::Frame frame_{storage_};
  StoredMatrix embedding_;
  index classes_;
  std::vector<Layer> layers_;
  Panels table_{};  // (V, G * H)
  PackedWeights projection_;
  float* projection_bias_;
};

}  // namespace recurlm
