// The leaf arithmetic as one table of functions for each instruction set. Kernels neither allocate, nor start threads, nor
// throw; sizes of 0 are legal. An entry is a rectangle of a product or the fused gates of a tile, never a vector operation.
//
// Only plain structs stand here: kernel files include this header, and an inline function compiled for AVX-512 in one of them
// could replace the baseline copy at link time.
#pragma once

#include "base/types.h"

namespace recurlm::kernels {

// Where half a panel (16 columns) of a product goes: an offset into a row of C and how many columns are real.
struct Column {
  index offset;
  index width;
};

// What a product is added to: rows are of int8 alone.
enum class Init { zero, accumulate, bias, rows };

struct bfloat16 {
  std::uint16_t bits;  // the upper half of a float32
};

// C = init + A B over `rows` rows and `panels` panels.
//
// Every element is one chain of fused multiply-adds over ascending k, however the work is cut: C holds the running sums.
// A(m, k) = a[m * a_row + k % 32 + (k / 32) * a_panel], which covers row-major matrices (a_panel 32), a transposed copy among
// them, and packed ones (a_row 32).
//
// B in bfloat16 is expanded to float32 on its way into a register, which halves what is read of memory, and nothing else differs.
// A and B in bfloat16 are multiplied by pairs of k, or by AMX 32 at a time from the first on, where the processor does that; A is
// then row-major, and both have a row of zeros behind an odd depth.
template <typename Left, typename Right>
struct GemmOf {
  index rows, depth, panels;
  const Left* a;
  index a_row, a_panel;
  const Right* b;  // (panels, depth, 32); bfloat16: (panels, depth / 2 rounded up, 32, 2)
  index b_panel;
  float* c;
  index c_row;
  const Column* columns;  // two for each panel
  Init init;
  const float* bias;  // (panels, 32) in packed order
};
using Gemm = GemmOf<float, float>;
using GemmBfloat16Weights = GemmOf<float, bfloat16>;
using GemmBfloat16 = GemmOf<bfloat16, bfloat16>;

// C = init + (a_scale A)(b_scale B) with A and B in int8: sums are exact integers, multiplied by both scales at the end.
struct GemmInt8 {
  index rows, depth, panels;
  const std::int8_t* a;  // (rows, a_row) as quantize_rows of the same table writes them
  index a_row;
  const float* a_scales;  // (rows)
  const std::int8_t* b;  // (panels, depth / 4 rounded up, 32, 4), from -127 to 127, zeros beyond depth
  index b_panel;
  const float* b_scales;       // (panels, 32)
  const std::int32_t* b_sums;  // (panels, 32) over depth
  float* c;
  index c_row;
  const Column* columns;  // two for each panel
  Init init;
  const float* bias;
  // Row m of C begins as row initial_rows[m] of packed panels, `initial_panel` apart.
  const float* initial;
  index initial_panel;
  const std::int32_t* initial_rows;
};

// Int8 sums of more products than this could overflow: 127 * 127 * 2^17 < 2^31.
constexpr index int8_max_depth = index{1} << 17;

// What is left of a softmax over a block of logits: the sum of exp(scale * (logit - maximum)), and where the first maximum
// stands. A scale of 0 asks for the maximum only: the sum is 1. Where a logit is NaN, so is the sum.
struct SoftmaxBlock {
  float maximum, sum;
  std::int32_t at;
};

enum class Activation : int { linear, tanh, sigmoid, relu, gelu };

// Rows of one block of units of a recurrent cell: the gates of 16 units (lstm: two panels) or 32 (rnn: one; gru: three).
struct CellTile {
  index rows, units;  // units that are real
  float* gates;       // packed; in: sums, out: activations; backward: gradients of the sums
  index gates_panel;
  float* recurrent_gates;  // gru: the recurrent part, kept apart
  index recurrent_gates_panel;
  const float *prev_h, *prev_c;  // all that follows: (rows, units), rows `ld` apart
  float *h, *c;
  const float* dy;  // or null
  float* dh;        // in: from the step after; out: what passes straight to the step before
  float* dc;
  float* reset_h;  // gru, reset before: r * prev_h; backward: its gradient
  index ld;
  const unsigned char* mask;  // (rows) or null; where 0 the state passes on
  Activation activation;      // rnn
};

// Softmax and cross-entropy on packed logits (panels, stride, 32), in place: logits become their gradient.
struct SoftmaxCrossEntropy {
  index rows, classes;
  float* logits;
  index panel;
  const std::int32_t* targets;
  const float* weights;  // or null for ones
  float smoothing;       // share of the target's probability that all classes get in equal parts
  float* log_probs;      // of the targets
  float* mean_log_probs;  // over all classes, where there is smoothing
  std::int32_t* ranks;
  std::int32_t* predictions;
  bool gradient;
};

struct Update {
  index count;
  float* parameter;
  const float* gradient;
  float* slots[3];
  float scale;       // of the gradient; 1 where nothing is clipped
  float clip_value;  // 0: off
  float decay;       // learning rate times weight decay
  float learning_rate, momentum, beta_2, epsilon;
  float rest_1, rest_2;  // 1 - beta_1, 1 - beta_2, rounded once
  bool nesterov, amsgrad, centered;
};

// A block of queries and all keys of one head.
struct AttentionRows {
  index rows, keys, first;  // row r is query first + r
  bool causal;              // query t sees keys 0 to t
  float scale;              // of the scores
  const float* key_bias;    // (keys), 0 or, where a key is padding, -infinity; or null
  const unsigned char* query_mask;  // of the block, or null; one is `query_mask_stride` from the next
  index query_mask_stride;
};

// The same for additive attention.
struct AdditiveRows {
  index rows, keys, dims;
  const float* query;  // (rows, dims), rows `query_row` apart
  index query_row;
  const float* weights;  // (dims)
};

struct AdditiveGradients {
  float *query, *keys, *weights;  // rows as far apart as those of query and keys
};

struct LayerNorm {
  index rows, cols;
  const float* gamma;  // (cols) or null
};

struct Table {
  index gemm_rows;  // rows of the largest tile of float32: the unit by which rows are given to threads
  void (*gemm)(const Gemm&);
  void (*gemm_bfloat16_weights)(const GemmBfloat16Weights&);
  void (*gemm_bfloat16)(const GemmBfloat16&);
  void (*gemm_int8)(const GemmInt8&);
  // Rows of A as the integers nearest to a / scale with the scale max |a| / 127 of each row, and zeros to the next multiple of 16,
  // all of them shifted by 128 where gemm_int8 multiplies unsigned bytes; a row that is not finite gets the scale NaN.
  void (*quantize_rows)(index rows, index depth, const float* a, index a_row, std::int8_t* q, index q_row, float* scales);

  // The nearest bfloat16, halves to even: a relative error of at most 2^-8. round_rows takes A as in GemmOf<float, ...> and writes
  // rows of whole pairs; pair_rows takes rows of a panel and writes pairs of them.
  void (*round_rows)(index rows, index depth, const float* a, index a_row, index a_panel, bfloat16* to, index to_row);
  void (*pair_rows)(index rows, const float* panel, bfloat16* to);

  void (*copy)(index rows, index cols, const float* from, index ld, float* to);  // into half a panel
  void (*transpose)(index rows, index cols, const float* from, index ld, float* to, index to_ld);

  void (*rnn_forward)(const CellTile&);
  void (*rnn_backward)(const CellTile&);
  void (*gru_forward)(const CellTile&);
  void (*gru_backward)(const CellTile&);
  void (*lstm_forward)(const CellTile&);
  void (*lstm_backward)(const CellTile&);

  // GRU with the reset gate before the product: gates, then candidate; backward: candidate, then gates.
  void (*gru_reset_forward)(const CellTile&);
  void (*gru_candidate_forward)(const CellTile&);
  void (*gru_candidate_backward)(const CellTile&);
  void (*gru_reset_backward)(const CellTile&);

  void (*softmax_cross_entropy)(const SoftmaxCrossEntropy&);

  void (*activation_forward)(Activation, index count, const float* x, float* y);
  void (*activation_backward)(Activation, index count, const float* y, const float* dy, float* dx);  // gelu: x in place of y
  void (*softmax_forward)(index rows, index cols, const float* x, float* y);
  SoftmaxBlock (*softmax_block)(index count, const float* logits, float scale);  // count > 0
  void (*softmax_backward)(index rows, index cols, const float* y, const float* dy, float* dx);

  // In place on (rows, keys); keys in panels are turned, (panels, dims, 32), else rows.
  void (*attention_softmax)(const AttentionRows&, float* scores);
  void (*attention_softmax_backward)(const AttentionRows&, const float* probabilities, float* dprobabilities);
  void (*additive_scores)(const AdditiveRows&, const float* keys, index panel, float* scores, index scores_row);
  void (*additive_backward)(const AdditiveRows&, const float* keys, index keys_row, const float* dscores, index dscores_row,
                            const AdditiveGradients&);

  void (*layer_norm_forward)(const LayerNorm&, const float* x, const float* beta, float epsilon, float* y, float* statistics);
  void (*layer_norm_backward)(const LayerNorm&, const float* x, const float* statistics, const float* dy, float* dx,
                              float* dgamma, float* dbeta);

  void (*sgd)(const Update&);
  void (*rmsprop)(const Update&);
  void (*adagrad)(const Update&);
  void (*adam)(const Update&);
  void (*lion)(const Update&);
  void (*update_mean)(index count, float weight, const float* x, float* mean);
  double (*squared_norm)(index count, const float* x);
  double (*absolute_sum)(index count, const float* x);
  double (*squared_distance)(index count, const float* x, const float* y);
  void (*penalty_gradient)(index count, const float* x, float l1, float l2, float* gradient);
  void (*difference_gradient)(index count, const float* before, const float* x, float factor, float* gradient_before, float* gradient);

  double (*multiply_add_registers)(index rounds, float* sink);
  float (*add_up)(index count, const float* x);

  // y = x * factors, and y += x * factors; rows of all three `ld` apart.
  void (*multiply_rows)(index rows, index cols, const float* x, const float* factors, float* y, index ld);
  void (*multiply_add_rows)(index rows, index cols, const float* x, const float* factors, float* y, index ld);
  void (*add)(index count, const float* x, float* y);  // y += x
  void (*add_rows)(index rows, const float* x, const std::int32_t* to, float* y);  // of panels: y[to[r]] += x[r], ascending r
  void (*column_sums)(index rows, index cols, const float* x, index ld, float* sums);  // sums += column sums of x
};

const Table& table();  // of active_isa()

}  // namespace recurlm::kernels
