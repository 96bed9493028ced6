#include "cpu/isa.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

#if !defined(__aarch64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace recurlm {

namespace {

#if defined(__aarch64__)

constexpr Isa all_isas[] = {Isa::neon};

bool supported(Isa isa) { return isa == Isa::neon; }
bool permitted(Isa) { return true; }

#else

constexpr Isa all_isas[] = {Isa::sse4, Isa::avx2, Isa::avx512, Isa::avx512vnni, Isa::avx512bf16, Isa::amx};

// What the processor has, and which registers the system keeps for a thread. Asked of the processor itself: compilers of 2022 do not
// know AMX by name, and on Windows their names need a library that nobody links.
struct Processor {
  unsigned basic = 0, extended_b = 0, extended_c = 0, extended_d = 0, more = 0, kept = 0;

  Processor() {
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) basic = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) extended_b = b, extended_c = c, extended_d = d;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) more = a;
    constexpr unsigned tells_what_is_kept = 27;
    if (basic >> tells_what_is_kept & 1) __asm__("xgetbv" : "=a"(kept), "=d"(d) : "c"(0));
  }
};

bool has(unsigned word, std::initializer_list<int> bits) {
  return std::all_of(bits.begin(), bits.end(), [&](int bit) { return word >> bit & 1; });
}

#if defined(__linux__)
constexpr long tell_features = 0x1021, request_feature = 0x1023, tile_data = 18;  // ARCH_GET_XCOMP_SUPP, ARCH_REQ_XCOMP_PERM
bool system_has_tiles() {
  std::uint64_t features = 0;
  return syscall(SYS_arch_prctl, tell_features, &features) == 0 && features >> tile_data & 1;
}
bool request_tiles() { return syscall(SYS_arch_prctl, request_feature, tile_data) == 0; }
#else
bool system_has_tiles() { return false; }
bool request_tiles() { return false; }
#endif

bool supported(Isa isa) {
  static const Processor processor;
  switch (isa) {
    case Isa::sse4:
      return has(processor.basic, {20});
    case Isa::avx2:  // with FMA and BMI2, and the registers of AVX
      return has(processor.basic, {12}) && has(processor.extended_b, {5, 8}) && has(processor.kept, {1, 2});
    case Isa::avx512:  // F, DQ, CD, BW, VL
      return supported(Isa::avx2) && has(processor.extended_b, {16, 17, 28, 30, 31}) && has(processor.kept, {5, 6, 7});
    case Isa::avx512vnni:
      return supported(Isa::avx512) && has(processor.extended_c, {11});
    case Isa::avx512bf16:
      return supported(Isa::avx512vnni) && has(processor.more, {5});
    case Isa::amx:  // of bfloat16, tiles, of int8
      return supported(Isa::avx512bf16) && has(processor.extended_d, {22, 24, 25}) && has(processor.kept, {17, 18}) && system_has_tiles();
    case Isa::neon:
      return false;
  }
  return false;
}

// Linux keeps a thread's tiles only for processes that have asked, whose signal frames then are larger; it refuses where a stack for
// signals is too small for them. Asked again, it agrees again.
bool permitted(Isa isa) { return isa != Isa::amx || request_tiles(); }

#endif

std::string supported_names() {
  std::string names;
  for (Isa isa : supported_isas()) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  return names;
}

Isa parse(const std::string& name, const std::string& source = "") {
  for (Isa isa : supported_isas()) {
    if (name != isa_name(isa)) continue;
    if (permitted(isa)) return isa;
    throw std::invalid_argument(source + "the system does not let this process use the instruction set '" + name + "'");
  }
  throw std::invalid_argument(source + "instruction set '" + name + "' is unknown or not supported by this processor, which has: " +
                              supported_names());
}

Isa initial() {
  if (const char* name = std::getenv("RECURLM_ISA"); name && *name) return parse(name, "RECURLM_ISA: ");
  const auto isas = supported_isas();
  const auto best = std::find_if(isas.rbegin(), isas.rend(), permitted);
  if (best == isas.rend()) throw std::invalid_argument("recurlm needs a processor with SSE4.2 (x86-64-v2)");
  return *best;
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{initial()};
  return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::sse4: return "sse4";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512vnni: return "avx512vnni";
    case Isa::avx512bf16: return "avx512bf16";
    case Isa::amx: return "amx";
    case Isa::neon: return "neon";
  }
  return "";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (Isa isa : all_isas)
    if (supported(isa)) isas.push_back(isa);
  return isas;
}

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_isa(const std::string& name) { active().store(parse(name), std::memory_order_relaxed); }

}  // namespace recurlm
