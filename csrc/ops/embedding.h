// Embedding: rows of a table by token id.
#pragma once

#include <cstdint>

#include "base/views.h"

namespace recurlm {

void embedding_forward(index count, const std::int32_t* ids, ConstMatrixView table, float* y);
// dtable[ids[r]] += dy[r] in ascending r.
void embedding_backward(index count, const std::int32_t* ids, const float* dy, MatrixView dtable);
void zero_rows(index count, const std::int32_t* ids, MatrixView table);

}  // namespace recurlm
