#include "ops/attention.h"

#include <algorithm>
#include <limits>

#include "ops/gemm.h"

namespace recurlm {

namespace {

// Queries are taken in blocks, whose scores stay near the core however long the sequence is; a causal block leaves out the
// keys behind it. Sums over queries go on through memory from block to block: one chain over ascending t.
constexpr index query_block = 32;

struct Block {
  index first, rows, keys;  // queries; as many keys as the last of them may see
};

template <typename Visit>
void for_blocks(const Attention& a, Visit&& visit) {
  // A query that sees nothing attends to all keys, those behind it too.
  const bool triangular = a.causal && !a.query_mask && !a.key_mask;
  for (index first = 0; first < a.queries; first += query_block) {
    const index rows = std::min(query_block, a.queries - first);
    visit(Block{first, rows, triangular ? std::min(first + rows, a.keys) : a.keys});
  }
}

// What one row of the batch and one head has of a sequence: rows `stride` apart.
template <typename T>
struct HeadRows {
  T* data;
  index rows, dims, stride;

  T* row(index r) const { return data + r * stride; }
  ConstMatrixView matrix(index first, index count) const { return {row(first), count, stride}; }
};

struct Pair {
  const Attention& a;
  index number;

  template <typename T>
  HeadRows<T> rows(T* data, index count, index dims) const {
    const index width = a.heads * dims, batch = number / a.heads, head = number % a.heads;
    return {data + batch * width + head * dims, count, dims, a.batch * width};
  }
  template <typename T>
  HeadRows<T> query(T* data) const { return rows(data, a.queries, a.key_dim); }
  template <typename T>
  HeadRows<T> key(T* data) const { return rows(data, a.keys, a.key_dim); }
  template <typename T>
  HeadRows<T> value(T* data) const { return rows(data, a.keys, a.value_dim); }
  template <typename T>
  HeadRows<T> output(T* data) const { return rows(data, a.queries, a.value_dim); }
  float* probabilities(index query) const { return a.probabilities + (number * a.queries + query) * a.keys; }
};

struct PerThread {
  PerThread(Workspace::Frame& frame, int threads, index count)
      : size(ceil_div(count, half_width) * half_width), data(frame.take<float>(threads * size)) {}
  float* of(const Team& team) const { return data + team.id * size; }

  index size;
  float* data;
};

// Column maps, and memory of each thread.
struct Scratch {
  Scratch(Workspace::Frame& frame, const Attention& a, int threads)
      : key_dims(natural_columns(frame, a.key_dim)),
        value_dims(natural_columns(frame, a.value_dim)),
        keys(natural_columns(frame, a.keys)),
        turned(frame, threads, Panels::size(ceil_div(widest(a), half_width) * half_width, panels_of(a.keys))),
        packed(frame, threads, Panels::size(a.keys, panels_of(widest(a)))),
        block(frame, threads, Panels::size(query_block, panels_of(widest(a)))),
        scores(frame, threads, query_block * a.keys),
        transposed(frame, threads, query_block * a.keys),
        factors(frame, threads, a.dropout.rate > 0 ? query_block * a.keys : 0),
        dropped(frame, threads, a.dropout.rate > 0 ? query_block * a.keys : 0),
        key_bias(frame, threads, a.key_mask ? a.keys : 0) {}

  static index widest(const Attention& a) { return std::max(a.key_dim, a.value_dim); }

  const Column *key_dims, *value_dims, *keys;
  PerThread turned, packed, block, scores, transposed, factors, dropped, key_bias;
};

// One thread at work on one pair.
class Head {
 public:
  Head(const Team& team, const Scratch& scratch, const Pair& pair) : team_(team), s_(scratch), pair_(pair), a_(pair.a) {
    if (!a_.key_mask) return;
    key_bias_ = s_.key_bias.of(team);
    const unsigned char* present = a_.key_mask + pair.number / a_.heads;
    for (index k = 0; k < a_.keys; ++k)
      key_bias_[k] = present[k * a_.batch] ? 0.0f : -std::numeric_limits<float>::infinity();
  }

  void forward(float* output) const {
    const Panels keys = pack_turned(pair_.key(a_.key), s_.key_dims);
    const Panels values = pack_rows(pair_.value(a_.value), 0, a_.keys, s_.value_dims, s_.packed.of(team_));
    const auto query = pair_.query(a_.query);
    const auto to = pair_.output(output);
    for_blocks(a_, [&](const Block& block) {
      float* p = pair_.probabilities(block.first);
      if (a_.additive)
        kernels::table().additive_scores(additive_rows(block), keys.data, keys.stride, p, a_.keys);
      else
        product(query.row(block.first), query.stride, block.rows, a_.key_dim, keys, panels_of(block.keys), p, a_.keys, s_.keys);
      kernels::table().attention_softmax(rows(block), p);
      product(drop(block, p), a_.keys, block.rows, block.keys, values, values.panels, to.row(block.first), to.stride,
              s_.value_dims);
    });
  }

  // dadditive (K) is added to.
  void backward(const AttentionGradients& gradients, float* dadditive) const {
    const Panels values = pack_turned(pair_.value(a_.value), s_.value_dims);
    const Panels keys = pack_rows(pair_.key(a_.key), 0, a_.keys, s_.key_dims, s_.packed.of(team_));
    const auto doutput = pair_.output(gradients.doutput);
    const auto dkey = pair_.key(gradients.dkey), dvalue = pair_.value(gradients.dvalue);
    for (const auto& zeroed : {dkey, dvalue})
      for (index k = 0; k < a_.keys; ++k) std::fill_n(zeroed.row(k), zeroed.dims, 0.0f);
    float* ds = s_.scores.of(team_);
    for_blocks(a_, [&](const Block& block) {
      const float* p = pair_.probabilities(block.first);
      add_turned_product(block, drop(block, p), doutput, s_.value_dims, dvalue);
      product(doutput.row(block.first), doutput.stride, block.rows, a_.value_dim, values, panels_of(block.keys), ds, a_.keys,
              s_.keys);
      if (a_.dropout.rate > 0) multiply(block, s_.factors.of(team_), ds, ds);
      kernels::table().attention_softmax_backward(rows(block), p, ds);
      if (a_.additive)
        additive_backward(block, ds, gradients, dadditive);
      else
        scores_backward(block, ds, keys, pair_.query(gradients.dquery), dkey);
    });
  }

 private:
  kernels::AttentionRows rows(const Block& block) const {
    const unsigned char* mask = a_.query_mask;
    return {block.rows, a_.keys,   block.first, a_.causal, a_.scale,
            key_bias_,  mask ? mask + block.first * a_.batch + pair_.number / a_.heads : nullptr, a_.batch};
  }

  kernels::AdditiveRows additive_rows(const Block& block) const {
    const auto query = pair_.query(a_.query);
    return {block.rows, block.keys, a_.key_dim, query.row(block.first), query.stride, a_.additive};
  }

  static Panels pack(const Packable& source, float* room) {
    const Panels packed{room, source.depth, source.panels, source.depth * panel_width};
    for (index p = 0; p < source.panels; ++p) source.pack_panel(p, 0, source.depth, packed.at(p, 0));
    return packed;
  }

  // As a right operand: (count, dims), or turned (dims, rows).
  static Panels pack_rows(const HeadRows<const float>& from, index first, index count, const Column* columns, float* room) {
    return pack(Packable::columns_of(from.matrix(first, count), columns, panels_of(from.dims)), room);
  }
  Panels pack_turned(const HeadRows<const float>& from, const Column* columns) const {
    return pack(Packable::rows_of(from.matrix(0, from.rows), columns, ceil_div(from.dims, half_width)), s_.turned.of(team_));
  }

  static void product(const float* a, index a_row, index rows, index depth, const Panels& b, index panels, float* c, index c_row,
                      const Column* columns, Init init = Init::zero) {
    kernels::table().gemm({rows, depth, panels, a, a_row, panel_width, b.data, b.stride, c, c_row, columns, init, nullptr});
  }

  // to (S, dims) += the transpose of `left` (rows, S) times these rows of `right`.
  void add_turned_product(const Block& block, const float* left, const HeadRows<const float>& right, const Column* columns,
                          const HeadRows<float>& to) const {
    float* transposed = s_.transposed.of(team_);
    kernels::table().transpose(block.rows, block.keys, left, a_.keys, transposed, query_block);
    const Panels b = pack_rows(right, block.first, block.rows, columns, s_.block.of(team_));
    product(transposed, query_block, block.keys, block.rows, b, b.panels, to.data, to.stride, columns, Init::accumulate);
  }

  void scores_backward(const Block& block, const float* ds, const Panels& keys, const HeadRows<float>& dquery,
                       const HeadRows<float>& dkey) const {
    product(ds, a_.keys, block.rows, block.keys, keys, keys.panels, dquery.row(block.first), dquery.stride, s_.key_dims);
    add_turned_product(block, ds, pair_.query(a_.query), s_.key_dims, dkey);
  }

  void additive_backward(const Block& block, const float* ds, const AttentionGradients& gradients, float* dadditive) const {
    const auto key = pair_.key(a_.key);
    const kernels::AdditiveGradients to{pair_.query(gradients.dquery).row(block.first), pair_.key(gradients.dkey).data, dadditive};
    kernels::table().additive_backward(additive_rows(block), key.data, key.stride, ds, a_.keys, to);
  }

  // The probabilities with dropout; its factors are left behind for the backward pass.
  const float* drop(const Block& block, const float* p) const {
    if (a_.dropout.rate == 0) return p;
    float *factors = s_.factors.of(team_), *dropped = s_.dropped.of(team_);
    for (index r = 0; r < block.rows; ++r) {
      const index row = pair_.number * a_.queries + block.first + r;
      dropout_factors(a_.dropout, row, a_.keys, 0, block.keys, factors + r * a_.keys);
    }
    multiply(block, factors, p, dropped);
    return dropped;
  }

  void multiply(const Block& block, const float* factors, const float* x, float* y) const {
    for (index r = 0; r < block.rows; ++r)
      for (index k = r * a_.keys; k < r * a_.keys + block.keys; ++k) y[k] = x[k] * factors[k];
  }

  const Team& team_;
  const Scratch& s_;
  const Pair& pair_;
  const Attention& a_;
  float* key_bias_ = nullptr;
};

int threads_of(const Attention& a, double passes) {
  const double operations = static_cast<double>(a.pairs() * a.queries * a.keys) * static_cast<double>(a.key_dim + a.value_dim);
  constexpr double of_tanh = 20;
  return threads_for(2 * passes * operations * (a.additive ? of_tanh : 1.0));
}

}  // namespace

void attention_forward(const Attention& attention, float* output, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = threads_of(attention, 1);
  const Scratch scratch(frame, attention, threads);
  parallel(threads, [&](Team& team) {
    const Range share = team.share(attention.pairs());
    for (index pair = share.begin; pair < share.end; ++pair) Head(team, scratch, Pair{attention, pair}).forward(output);
  });
}

void attention_backward(const Attention& attention, const AttentionGradients& gradients, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = threads_of(attention, 2);
  const Scratch scratch(frame, attention, threads);
  const index dims = attention.additive ? attention.key_dim : 0;
  auto* dadditive = frame.take<float>(attention.pairs() * dims);
  parallel(threads, [&](Team& team) {
    const Range share = team.share(attention.pairs());
    for (index pair = share.begin; pair < share.end; ++pair) {
      std::fill_n(dadditive + pair * dims, dims, 0.0f);
      Head(team, scratch, Pair{attention, pair}).backward(gradients, dadditive + pair * dims);
    }
  });
  if (!gradients.dadditive) return;
  std::fill_n(gradients.dadditive, dims, 0.0f);
  kernels::table().column_sums(attention.pairs(), dims, dadditive, dims, gradients.dadditive);
}

}  // namespace recurlm
