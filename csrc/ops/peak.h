// The machine's own limit, measured: what a benchmark's rate is a fraction of.
#pragma once

namespace recurlm {

// fp32 GFLOP/s of fused multiply-adds in registers on `threads` threads with the active instruction set: the best of slices of
// about 20 ms within `seconds`.
double measure_peak(double seconds, int threads);

}  // namespace recurlm
