// Generation in every precision on every instruction set: what it draws is what scoring finds, bit for bit; from token to token
// nothing is allocated; and on one thread nothing is asked of the system: the kernel kills a child that tries.
#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/threads.h"
#include "infer/decoder.h"
#include "infer/scoring.h"

// Sanitizers bring an allocator of their own, which may ask the system for memory at any time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RECURLM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RECURLM_SANITIZED 1
#endif
#endif

#if defined(__GLIBC__) && !defined(RECURLM_SANITIZED)
#define RECURLM_COUNTS_ALLOCATIONS 1
static std::atomic<long> allocations{0};
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) { return ++allocations, __libc_malloc(size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
}
#endif

namespace recurlm::native {

namespace {

constexpr index vocabulary = 300, embedding_width = 19, units = 37;  // two blocks of classes, and no whole panels

void require(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what);
}

// A matrix of pseudo-random weights in a precision, and its memory.
struct Weights {
  std::vector<float> floats;
  std::vector<bfloat16> halves;
  std::vector<std::int8_t> integers;
  std::vector<float> scales;
  StoredMatrix matrix;

  Weights(Precision precision, index rows, index cols, bool row_scales = false);
};

std::uint32_t next_random() {
  static std::uint32_t state = 1;
  return state = state * 1664525u + 1013904223u;
}

Weights::Weights(Precision precision, index rows, index cols, bool row_scales) {
  for (index i = 0; i < rows * cols; ++i) {
    const int integer = static_cast<int>(next_random() >> 24) % 255 - 127;
    const float value = static_cast<float>(integer) / 256;
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    floats.push_back(value);
    halves.push_back({static_cast<std::uint16_t>(bits >> 16)});
    integers.push_back(static_cast<std::int8_t>(integer));
  }
  scales.assign(static_cast<std::size_t>(row_scales ? rows : cols), 1.0f / 256);
  const void* data = precision == Precision::float32    ? static_cast<const void*>(floats.data())
                     : precision == Precision::bfloat16 ? static_cast<const void*>(halves.data())
                                                        : integers.data();
  matrix = {precision, data, rows, cols, precision == Precision::int8 ? scales.data() : nullptr};
}

PackedModel make_model(Precision precision, CellKind kind) {
  std::vector<ModelLayer> layers;
  std::vector<Weights> weights;
  weights.reserve(6);
  const Weights& embedding = weights.emplace_back(precision, vocabulary, embedding_width, true);
  for (index width : {embedding_width, units}) {
    const CellSpec spec{kind, width, units};
    const index gates = spec.gates() * units;
    const StoredMatrix kernel = weights.emplace_back(precision, width, gates).matrix;
    layers.push_back({spec, kernel, weights.emplace_back(precision, units, gates).matrix, nullptr});
  }
  const Weights& projection = weights.emplace_back(precision, units, vocabulary);
  return PackedModel(embedding.matrix, layers, {projection.matrix, false, nullptr});
}

// What streams drew, with the log-probabilities that scoring must find again.
void check_scores(const PackedModel& model) {
  const std::vector<std::vector<std::int32_t>> prompts{{7}, {7, 11, 2}, {7, 11, 5, 299}, {7, 11, 2}};
  constexpr index count = 9;
  DecodingState state = begin(model, prompts, 5, banning({0}));
  std::vector<std::int32_t> drawn(prompts.size() * count);
  std::vector<float> log_probs(drawn.size());
  generate(model, state, count, {Sampling{1.2, 0, 0.95, 0.0, 1.1}}, {}, {drawn.data(), log_probs.data()});
  std::vector<std::int32_t> ids;
  std::vector<index> offsets{0};
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    ids.insert(ids.end(), prompts[s].begin() + 1, prompts[s].end());
    ids.insert(ids.end(), drawn.begin() + static_cast<long>(s) * count, drawn.begin() + static_cast<long>(s + 1) * count);
    offsets.push_back(static_cast<index>(ids.size()));
  }
  std::vector<float> scores(ids.size());
  std::vector<std::int32_t> predictions(ids.size());
  score_texts(model, offsets, ids.data(), prompts[0][0], {scores.data(), predictions.data()});
  for (std::size_t s = 0; s < prompts.size(); ++s)
    require(std::memcmp(scores.data() + offsets[s + 1] - count, log_probs.data() + s * count, count * sizeof(float)) == 0,
            "scores differ from what generation reported");
}

void generate_tokens(const PackedModel& model, DecodingState& state, index count, std::vector<std::int32_t>& ids) {
  generate(model, state, count, {Sampling{0.9, 40, 0.9, 0.01, 1.05}}, {}, {ids.data()});
}

#ifdef RECURLM_COUNTS_ALLOCATIONS
void check_allocations(const PackedModel& model, DecodingState& state, std::vector<std::int32_t>& ids) {
  const auto of_call = [&](index count) {
    const long before = allocations;
    generate_tokens(model, state, count, ids);
    return allocations - before;
  };
  of_call(1);
  const long few = of_call(1), many = of_call(1000);  // of a state that has drawn one token before
  require(few == many, std::to_string(many - few) + " allocations in 999 tokens");
}

// From here on any call but exit ends the process. False where the kernel has no such filters.
bool forbid_system_calls() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program{sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// How a child ends that does `work` where system calls are forbidden; not_forbidden if they cannot be.
constexpr int not_forbidden = 77;
template <typename Work>
int end_of_child(Work&& work) {
  const pid_t child = fork();
  require(child >= 0, "fork failed");
  if (child == 0) {
    if (!forbid_system_calls()) syscall(SYS_exit, not_forbidden);
    work();
    syscall(SYS_exit, 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void check_system_calls(const PackedModel& model, DecodingState& state, std::vector<std::int32_t>& ids) {
  const int end = end_of_child([&] { generate_tokens(model, state, 1000, ids); });
  if (end == not_forbidden) return (void)std::printf("system calls cannot be forbidden here\n");
  require(end == 0, "a system call amid generation");
  require(end_of_child([] { syscall(SYS_getpid); }) == -1, "a system call went unnoticed");
}
#else
void check_allocations(const PackedModel& model, DecodingState& state, std::vector<std::int32_t>& ids) {
  generate_tokens(model, state, 1000, ids);  // for what the sanitizer sees
}
void check_system_calls(const PackedModel&, DecodingState&, std::vector<std::int32_t>&) {}
#endif

void check(Precision precision, CellKind kind) {
  const PackedModel model = make_model(precision, kind);
  for (const int threads : {1, 2, 7}) {
    set_num_threads(threads);
    check_scores(model);
  }
  set_num_threads(1);
  DecodingState state = begin(model, {{1, 2, 3}, {4}}, 1, {});
  std::vector<std::int32_t> ids(2 * 1000);
  check_allocations(model, state, ids);
  check_system_calls(model, state, ids);
}

}  // namespace

}  // namespace recurlm::native

int main() try {
  using namespace recurlm;
  for (const Isa isa : supported_isas()) {
    set_isa(isa_name(isa));
    for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::int8})
      for (const CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::lstm}) native::check(precision, kind);
    std::printf("%s: generation checked\n", isa_name(isa));
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
