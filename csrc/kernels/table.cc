#include "kernels/table.h"

#include "cpu/isa.h"

namespace recurlm::kernels {

#if defined(__aarch64__)

extern const Table neon_table;

const Table& table() { return neon_table; }

#else

extern const Table sse4_table, avx2_table, avx512_table, avx512vnni_table, avx512bf16_table, amx_table;

const Table& table() {
  switch (active_isa()) {
    case Isa::sse4: return sse4_table;
    case Isa::avx2: return avx2_table;
    case Isa::avx512: return avx512_table;
    case Isa::avx512vnni: return avx512vnni_table;
    case Isa::avx512bf16: return avx512bf16_table;
    default: return amx_table;
  }
}

#endif

}  // namespace recurlm::kernels
