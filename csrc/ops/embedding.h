// Embedding: rows of a table by token id.
#pragma once

#include <cstdint>

#include "base/views.h"
#include "base/workspace.h"

namespace recurlm {

// The ids that occur, in order of appearance, and where in that list each id stands: ids[r] = distinct[rows[r]]. Every id is
// below `limit`. Returns how many occur.
index distinct_ids(index count, const std::int32_t* ids, index limit, std::int32_t* distinct, std::int32_t* rows,
                   Workspace& workspace);

void embedding_forward(index count, const std::int32_t* ids, ConstMatrixView table, float* y);
// dtable[ids[r]] += dy[r] in ascending r.
void embedding_backward(index count, const std::int32_t* ids, const float* dy, MatrixView dtable);
void zero_rows(index count, const std::int32_t* ids, MatrixView table);

}  // namespace recurlm
