#include "ops/gemm.h"

#include <algorithm>

namespace recurlm {

namespace {

// Blocks: a panel of B (128 KB at most) stays in a core's second-level cache while it meets the rows of A (2 MB at most), which
// stream past it from the third: each of their lines serves 32 columns. The sums pass through memory between blocks of k, so
// the chain of additions is the same without them.
constexpr index depth_block = 1024;
static_assert(depth_block % panel_width == 0, "AMX adds up 32 products of bfloat16 before it adds them to the sums");
constexpr index block_elements = 512 * depth_block;
constexpr index quantized_rows = 32, cache_line = 64;

index row_block(index depth) { return block_elements / std::clamp(depth, index{1}, depth_block); }

// Rows of A to a block: even blocks, in whole granules.
index even_row_block(const Operand& a, index granule) {
  const index most = std::max(row_block(a.depth), granule);
  const index blocks = std::max(ceil_div(a.rows, most), index{1});
  return std::max(ceil_div(ceil_div(a.rows, blocks), granule), index{1}) * granule;
}

// Rows of the left operand as a kernel reads them.
template <typename Left>
struct LeftRows {
  const Left* data;
  index row, panel;
};

LeftRows<float> left_rows(const Operand& a, const Rectangle& at, index k) {
  return {a.data + at.row * a.row + k / panel_width * a.panel, a.row, a.panel};
}

LeftRows<bfloat16> rounded_rows(const Operand& a, const Rectangle& at, index k) {
  return {a.rounded + at.row * a.row + k, a.row, panel_width};
}

// Depth [k, k + depth) of a rectangle, from there in the panels of B.
template <typename Left, typename Right>
kernels::GemmOf<Left, Right> block_of(const Product& p, const Rectangle& at, index k, index depth, const LeftRows<Left>& a,
                                      const Right* b, index b_panel) {
  kernels::GemmOf<Left, Right> g{};
  g.rows = at.rows;
  g.depth = depth;
  g.panels = at.panels;
  g.a = a.data;
  g.a_row = a.row;
  g.a_panel = a.panel;
  g.b = b;
  g.b_panel = b_panel;
  g.c = p.c.data + at.row * p.c.row;
  g.c_row = p.c.row;
  g.columns = p.c.columns + 2 * at.panel;
  g.init = k == 0 ? p.init : Init::accumulate;
  g.bias = p.bias ? p.bias + at.panel * panel_width : nullptr;
  return g;
}

// That block; each panel of B is packed first where B is not.
template <typename Left, typename Right>
void multiply_panels(const Team& team, const Product& p, const Rectangle& at, index k, index depth, const LeftRows<Left>& a,
                     void (*gemm)(const kernels::GemmOf<Left, Right>&)) {
  const RightOperand& b = p.b;
  if (!b.room.data) {
    const auto* from = static_cast<const Right*>(b.packed.data) + at.panel * b.packed.stride + k * panel_width;
    return gemm(block_of(p, at, k, depth, a, from, b.packed.stride));
  }
  Right* room = static_cast<Right*>(b.room.data) + team.id * b.room.stride;
  for (index panel = at.panel; panel < at.panel + at.panels; ++panel) {
    b.source.pack_panel(panel, k, depth, room);
    gemm(block_of<Left, Right>(p, {at.row, at.rows, panel, 1}, k, depth, a, room, 0));
  }
}

// Rows are rounded by every thread, and for every rectangle, that needs them: to wait for one another would cost more on a few
// threads.
void multiply_rounding(const Team& team, const Product& p, const Rectangle& at, index k, index depth) {
  const RoundedRows& rounded = p.b.rounded;
  bfloat16* room = rounded.of_thread(team.id);
  for (index first = 0; first < at.rows; first += rounded.rows) {
    const Rectangle part{at.row + first, std::min(rounded.rows, at.rows - first), at.panel, at.panels};
    const LeftRows<float> from = left_rows(p.a, part, k);
    kernels::table().round_rows(part.rows, depth, from.data, from.row, from.panel, room, rounded.row);
    multiply_panels(team, p, part, k, depth, LeftRows<bfloat16>{room, rounded.row, panel_width},
                    kernels::table().gemm_bfloat16);
  }
}

QuantizedRows quantized(const Team& team, const Product& p, index first, index count) {
  if (p.a.quantized.data) return p.a.quantized.at(first);
  const QuantizedRows room = p.b.quantized_room.at(team.id * quantized_rows);
  kernels::table().quantize_rows(count, p.a.depth, p.a.data + first * p.a.row, p.a.row, room.data, room.row, room.scales);
  return room;
}

// The whole depth, a few rows at a time, quantised as above where they are not already.
void multiply_int8(const Team& team, const Product& p, const Rectangle& at) {
  const PackedWeights& b = p.b.packed;
  for (index first = at.row; first < at.row + at.rows; first += quantized_rows) {
    const index count = std::min(quantized_rows, at.row + at.rows - first);
    const QuantizedRows rows = quantized(team, p, first, count);
    const index column = at.panel * panel_width;
    kernels::GemmInt8 g{};
    g.rows = count;
    g.depth = p.a.depth;
    g.panels = at.panels;
    g.a = rows.data;
    g.a_row = rows.row;
    g.a_scales = rows.scales;
    g.b = static_cast<const std::int8_t*>(b.data) + at.panel * b.stride;
    g.b_panel = b.stride;
    g.b_scales = b.scales + column;
    g.b_sums = b.sums + column;
    g.c = p.c.data + first * p.c.row;
    g.c_row = p.c.row;
    g.columns = p.c.columns + 2 * at.panel;
    g.init = p.init;
    g.bias = p.bias ? p.bias + column : nullptr;
    if (p.init == Init::rows) {
      g.initial = p.initial.panels.at(at.panel, 0);
      g.initial_panel = p.initial.panels.stride;
      g.initial_rows = p.initial.rows + first;
    }
    kernels::table().gemm_int8(g);
  }
}

void multiply_block(const Team& team, const Product& p, const Rectangle& at, index k, index depth) {
  const auto& table = kernels::table();
  switch (p.b.precision()) {
    case Precision::float32:
      return multiply_panels(team, p, at, k, depth, left_rows(p.a, at, k), table.gemm);
    case Precision::bfloat16:
      if (p.a.rounded) return multiply_panels(team, p, at, k, depth, rounded_rows(p.a, at, k), table.gemm_bfloat16);
      if (p.b.rounded.data) return multiply_rounding(team, p, at, k, depth);
      return multiply_panels(team, p, at, k, depth, left_rows(p.a, at, k), table.gemm_bfloat16_weights);
    case Precision::int8:
      if (k == 0) multiply_int8(team, p, at);
  }
}

// At least one block, so that a product of depth 0 writes its initial values.
template <typename Visit>
void for_depth_blocks(index depth, Visit&& visit) {
  for (index k = 0; k == 0 || k < depth; k += depth_block) visit(k, std::min(depth_block, depth - k));
}

}  // namespace

Operand Operand::transposed(const Transposed& a) {
  if (a.precision == Precision::float32) return {static_cast<const float*>(a.data), a.rows, a.depth, a.stride, panel_width};
  return {nullptr, a.rows, a.depth, a.stride, panel_width, static_cast<const bfloat16*>(a.data)};
}

RightOperand::RightOperand(Workspace::Frame& frame, const Packable& source_, Precision precision, index rows, int threads)
    : source(source_) {
  // Never more than the packed copy takes, so that a later call with fewer rows needs no more than an earlier one with many.
  const index depth = std::min(source.depth, depth_block);
  if (rows <= row_block(source.depth) && threads * depth <= source.depth * source.panels)
    room = take_weights(frame, precision, depth, threads);
  else
    packed = take_weights(frame, precision, source.depth, source.panels);
  take_rounded(frame, rows, threads);
}

RightOperand RightOperand::packed_whole(Workspace::Frame& frame, const Packable& source, Precision precision, index rows,
                                        int threads) {
  RightOperand b(take_weights(frame, precision, source.depth, source.panels));
  b.source = source;
  b.take_rounded(frame, rows, threads);
  return b;
}

RightOperand RightOperand::of_panels(Workspace::Frame& frame, const Panels& packed, const Column* columns, Precision precision,
                                     int threads) {
  RightOperand b(PackedWeights::of(packed));
  b.source = Packable::of_panels(packed, columns);
  // A whole block for any depth, as a later call may have more.
  if (precision == Precision::bfloat16) b.room = take_weights(frame, precision, depth_block, threads);
  return b;
}

void RightOperand::take_rounded(Workspace::Frame& frame, index rows, int threads) {
  if (precision() != Precision::bfloat16) return;
  const index depth = std::min(source.depth, depth_block);
  rounded.rows = std::clamp(rows, index{1}, row_block(depth) + kernels::table().gemm_rows);
  rounded.row = (ceil_div(depth, panel_width) | 1) * panel_width;  // as in take_transposed
  rounded.data = frame.take<bfloat16>(threads * rounded.rows * rounded.row);
}

RightOperand::RightOperand(Workspace::Frame& frame, const PackedWeights& weights, int threads) : packed(weights) {
  if (weights.precision != Precision::int8) return;
  quantized_room = QuantizedRows::take(frame, threads * quantized_rows, weights.depth);
}

QuantizedRows QuantizedRows::take(Workspace::Frame& frame, index rows, index depth) {
  const index row = (ceil_div(depth, cache_line) | 1) * cache_line;  // as in take_transposed
  return {frame.take<std::int8_t>(rows * row), frame.take<float>(rows), row};
}

void quantize(const Team& team, ConstMatrixView rows, const QuantizedRows& to) {
  const Range share = team.share(rows.rows);
  const QuantizedRows own = to.at(share.begin);
  kernels::table().quantize_rows(share.end - share.begin, rows.cols, rows.row(share.begin), rows.cols, own.data, own.row,
                                 own.scales);
}

void RightOperand::prepare(const Team& team) const {
  if (!room.data) pack(team, source, packed);
}

Product rows_of(const Team& team, const Product& p, index row, index rows) {
  Product part = p;
  part.c.data += row * p.c.row;
  part.initial = p.initial.at(row);
  const RoundedRows& rounded = p.b.rounded;
  if (!rounded.data || rows > rounded.rows || p.a.depth > depth_block) {
    part.a.data += row * p.a.row;
    part.a.rows = rows;
    part.a.quantized = p.a.quantized.at(row);
    return part;
  }
  bfloat16* room = rounded.of_thread(team.id);
  kernels::table().round_rows(rows, p.a.depth, p.a.data + row * p.a.row, p.a.row, p.a.panel, room, rounded.row);
  part.a = {nullptr, rows, p.a.depth, rounded.row, panel_width, room};
  return part;
}

void multiply_rectangle(const Team& team, const Product& p, const Rectangle& at) {
  for_depth_blocks(p.a.depth, [&](index k, index depth) { multiply_block(team, p, at, k, depth); });
}

namespace {

// The calling thread's room among those that lie one behind the other.
void* thread_room(const Transposed& turned, int id) {
  const index offset = id * panel_width * turned.stride;
  if (turned.precision == Precision::float32) return static_cast<float*>(turned.data) + offset;
  return static_cast<bfloat16*>(turned.data) + offset;
}

// Each panel of columns of A is laid out as rows by one thread, which multiplies them by the whole of B.
void multiply_turned(const Team& team, const Product& p) {
  Transposed room = p.a.turned.first(p.a.depth);
  room.data = thread_room(room, team.id);
  Product part = p;
  part.a = Operand::transposed(room);
  const Range share = team.share(panels_of(p.a.rows));
  for (index panel = share.begin; panel < share.end; ++panel) {
    const index row = panel * panel_width;
    room.rows = std::min(panel_width, p.a.rows - row);
    for (index d = 0; d < p.a.depth; d += panel_width)
      transpose_columns(room, d, std::min(panel_width, p.a.depth - d), p.a.data + panel * p.a.panel + d * panel_width, panel_width);
    part.c.data = p.c.data + row * p.c.row;
    multiply_rectangle(team, part, {0, room.rows, 0, p.b.panels()});
  }
}

}  // namespace

void multiply(const Team& team, const Product& p) {
  if (p.a.turned.data) return multiply_turned(team, p);
  const index granule = kernels::table().gemm_rows;
  const index block = even_row_block(p.a, granule);
  for (index first = 0; first < p.a.rows; first += block) {
    const index rows = std::min(block, p.a.rows - first);
    // A thread has the same tiles in every block of depth, so their sums need no barrier on the way through memory.
    for_depth_blocks(p.a.depth, [&](index k, index depth) {
      for_share(team, p.b.panels(), rows, granule, [&](index panel, index panels, index row, index count) {
        multiply_block(team, p, {first + row, count, panel, panels}, k, depth);
      });
    });
  }
}

void column_sums(const Team& team, const Panels& packed, const Column* columns, bool accumulate, float* out) {
  // One chain over thousands of rows would lose digits that blocks of 64 keep.
  constexpr index rows_per_block = 64;
  const auto& k = kernels::table();
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    float total[panel_width] = {};
    for (index r = 0; r < packed.rows; r += rows_per_block) {
      float part[panel_width] = {};
      k.column_sums(std::min(rows_per_block, packed.rows - r), panel_width, packed.at(p, r), panel_width, part);
      k.add(panel_width, part, total);
    }
    for (index half = 0; half < 2; ++half) {
      const Column& to = columns[2 * p + half];
      for (index l = 0; l < to.width; ++l) {
        const float sum = total[half * half_width + l];
        out[to.offset + l] = accumulate ? out[to.offset + l] + sum : sum;
      }
    }
  }
}

void sum_rows(const Team& team, const Panels& packed, const std::int32_t* to, const Panels& sums) {
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    std::fill_n(sums.at(p, 0), sums.rows * panel_width, 0.0f);
    kernels::table().add_rows(packed.rows, packed.at(p, 0), to, sums.at(p, 0));
  }
}

}  // namespace recurlm
