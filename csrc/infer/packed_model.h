// A trained language model for running only: embedding, recurrent layers and projection, packed once and never changed; or mapped
// from a file that holds them packed.
//
// No cell is written here: a decoding step is the training op with one time step and weights packed beforehand.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "files/mapped_file.h"
#include "files/safetensors.h"
#include "infer/packed_layer.h"

namespace recurlm {

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
  using Layer = PackedLayer;

  // embedding (V, E) with scales of rows; everything is copied.
  PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers, const ModelProjection& projection);

  // Its arrays as they are in memory, the same on every machine: names, shapes and places. Those whose size is a whole number of
  // cache lines come first.
  std::vector<StoredArray> arrays() const;
  // The model of the same matrices, whose values need not be there, from the arrays that it once gave: find(array) is where in `file`
  // the one of this name, type and shape lies.
  using Find = std::function<const void*(const StoredArray&)>;
  PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers, const ModelProjection& projection,
              std::shared_ptr<const MappedFile> file, const Find& find);

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

  std::size_t nbytes() const { return storage_.nbytes() + (file_ ? file_->bytes().size() : 0); }
  // Of the weights that a decoding step of one stream reads.
  std::size_t read_bytes() const;
  // Floating-point operations of the recurrent layers, and of the projection, on one token.
  double recurrent_operations() const;
  double projection_operations() const;

 private:
  void lay_out(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers, const ModelProjection& projection);
  template <typename Self, typename Visit>
  static void visit_arrays(Self& self, Visit&& visit);
  void place_columns();
  void copy_embedding(const StoredMatrix& embedding);
  void pack(const std::vector<ModelLayer>& layers, const ModelProjection& projection);
  void make_table();

  const std::uint64_t id_;
  const std::shared_ptr<const MappedFile> file_;  // or null, where all is in storage_
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
