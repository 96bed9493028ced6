#include "ops/embedding.h"

#include <algorithm>
#include <cstring>

#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

index distinct_ids(index count, const std::int32_t* ids, index limit, std::int32_t* distinct, std::int32_t* rows,
                   Workspace& workspace) {
  Workspace::Frame frame(workspace);
  auto* place = frame.take<std::int32_t>(limit);
  std::fill_n(place, limit, -1);
  std::int32_t found = 0;
  for (index r = 0; r < count; ++r) {
    std::int32_t& at = place[ids[r]];
    if (at < 0) distinct[at = found++] = ids[r];
    rows[r] = at;
  }
  return found;
}

void embedding_forward(index count, const std::int32_t* ids, ConstMatrixView table, float* y) {
  const auto bytes = static_cast<std::size_t>(table.cols) * sizeof(float);
  parallel(threads_for(static_cast<double>(count * table.cols)), [&](Team& team) {
    const Range share = team.share(count);
    for (index r = share.begin; r < share.end; ++r) std::memcpy(y + r * table.cols, table.row(ids[r]), bytes);
  });
}

void embedding_backward(index count, const std::int32_t* ids, const float* dy, MatrixView dtable) {
  // Threads share columns, not rows: a repeated id is then always added by one thread, in order.
  parallel(threads_for(static_cast<double>(count * dtable.cols)), [&](Team& team) {
    const index halves = ceil_div(dtable.cols, half_width);
    const Range share = team.share(halves);
    const index first = share.begin * half_width, end = std::min(share.end * half_width, dtable.cols);
    for (index r = 0; r < count && first < end; ++r)
      kernels::table().add(end - first, dy + r * dtable.cols + first, dtable.row(ids[r]) + first);
  });
}

void zero_rows(index count, const std::int32_t* ids, MatrixView table) {
  for (index r = 0; r < count; ++r) std::fill_n(table.row(ids[r]), table.cols, 0.0f);
}

}  // namespace recurlm
