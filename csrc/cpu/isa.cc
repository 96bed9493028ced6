#include "cpu/isa.h"

#include <atomic>
#include <cstdlib>
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

#else

constexpr Isa all_isas[] = {Isa::sse4, Isa::avx2, Isa::avx512, Isa::avx512vnni, Isa::avx512bf16, Isa::amx};

// AMX with products of int8 and of bfloat16. Compilers of 2022 do not know the names.
bool has_tiles() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, all = bf16 | tile | int8;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & all) == all;
}

// Linux keeps a thread's tiles only for processes that have asked; asked again, it agrees again.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

bool supported(Isa isa) {
  __builtin_cpu_init();
  switch (isa) {
    case Isa::sse4:
      return __builtin_cpu_supports("sse4.2");
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    case Isa::avx512:
      return supported(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512cd");
    case Isa::avx512vnni:
      return supported(Isa::avx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::avx512bf16:
      return supported(Isa::avx512vnni) && __builtin_cpu_supports("avx512bf16");
    case Isa::amx:
      return supported(Isa::avx512bf16) && has_tiles() && may_use_tiles();
    case Isa::neon:
      return false;
  }
  return false;
}

#endif

std::string supported_names() {
  std::string names;
  for (Isa isa : supported_isas()) names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  return names;
}

Isa parse(const std::string& name, const std::string& source = "") {
  for (Isa isa : supported_isas())
    if (name == isa_name(isa)) return isa;
  throw std::invalid_argument(source + "instruction set '" + name + "' is unknown or not supported by this processor, which has: " +
                              supported_names());
}

Isa initial() {
  if (const char* name = std::getenv("RECURLM_ISA"); name && *name) return parse(name, "RECURLM_ISA: ");
  const auto isas = supported_isas();
  if (isas.empty()) throw std::invalid_argument("recurlm needs a processor with SSE4.2 (x86-64-v2)");
  return isas.back();
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
