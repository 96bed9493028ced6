// Compiled once for each instruction set, RECURLM_KERNEL_ISA. All of it has internal linkage but the table.
#include "kernels/table.h"

#include "kernels/vec.h"

#include "kernels/math.h"

#include "kernels/gemm_int8.h"

#if defined(RECURLM_KERNEL_amx)
#include "kernels/amx.h"
#endif
#include "kernels/attention.h"
#include "kernels/bfloat16.h"
#include "kernels/elementwise.h"
#include "kernels/gru.h"
#include "kernels/layer_norm.h"
#include "kernels/lstm.h"
#include "kernels/optimizers.h"
#include "kernels/pack.h"
#include "kernels/peak.h"
#include "kernels/penalties.h"
#include "kernels/rnn.h"
#include "kernels/softmax.h"

#define RECURLM_CONCAT_(a, b) a##b
#define RECURLM_CONCAT(a, b) RECURLM_CONCAT_(a, b)

namespace recurlm::kernels {

using namespace RECURLM_KERNEL_ISA;

extern const Table RECURLM_CONCAT(RECURLM_KERNEL_ISA, _table);

const Table RECURLM_CONCAT(RECURLM_KERNEL_ISA, _table) = {
    gemm_max_rows,
    gemm<float, float>,
    gemm<float, bfloat16>,
#if defined(RECURLM_KERNEL_amx)
    gemm_bfloat16_by_tiles,
    gemm_int8_by_tiles,
#else
    gemm<bfloat16, bfloat16>,
    gemm_int8,
#endif
    quantize_rows,
    round_rows,
    pair_rows,
    copy,
    transpose,
    rnn_forward,
    rnn_backward,
    gru_forward,
    gru_backward,
    lstm_forward,
    lstm_backward,
    gru_reset_forward,
    gru_candidate_forward,
    gru_candidate_backward,
    gru_reset_backward,
    softmax_cross_entropy,
    activation_forward,
    activation_backward,
    softmax_forward,
    softmax_block,
    softmax_backward,
    attention_softmax,
    attention_softmax_backward,
    additive_scores,
    additive_backward,
    layer_norm_forward,
    layer_norm_backward,
    sgd,
    rmsprop,
    adagrad,
    adam,
    lion,
    update_mean,
    squared_norm,
    absolute_sum,
    squared_distance,
    penalty_gradient,
    difference_gradient,
    multiply_add_registers,
    add_up,
    multiply_rows,
    multiply_add_rows,
    add,
    add_rows,
    column_sums,
};

}  // namespace recurlm::kernels
