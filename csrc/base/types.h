// Vocabulary shared by every folder: the index type and the packed layout's constants. No inline code: kernels include this.
#pragma once

#include <cstdint>

namespace recurlm {

using index = std::int64_t;

// A packed matrix is cut into panels of 32 columns; a panel lies in memory as its rows, 32 contiguous floats each. A half
// panel (16 columns, one AVX-512 register) is the unit at which columns may be permuted and the unit block of an LSTM.
constexpr index panel_width = 32;
constexpr index half_width = 16;

}  // namespace recurlm
