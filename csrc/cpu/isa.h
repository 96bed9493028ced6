// Which instruction set's kernels are in use.
#pragma once

#include <string>
#include <vector>

namespace recurlm {

// On x86-64, ascending: -v2, -v3, -v4, that with VNNI, with BF16, and with the tiles of AMX. On aarch64 what all of them have.
enum class Isa { sse4, avx2, avx512, avx512vnni, avx512bf16, amx, neon };

const char* isa_name(Isa isa);
std::vector<Isa> supported_isas();  // by this processor; empty where even sse4 is missing

// The best supported one unless RECURLM_ISA or set_isa names another. Both throw std::invalid_argument for a name that is
// unknown or that this processor lacks.
Isa active_isa();
void set_isa(const std::string& name);

// Whether the active one multiplies bfloat16 by an instruction of its own.
inline bool multiplies_bfloat16() { return active_isa() == Isa::avx512bf16 || active_isa() == Isa::amx; }

}  // namespace recurlm
