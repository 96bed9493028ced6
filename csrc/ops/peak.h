// The machine's own limits, measured: what a benchmark's rate is a fraction of.
#pragma once

namespace recurlm {

// fp32 GFLOP/s of fused multiply-adds in registers on `threads` threads with the active instruction set: the best of slices of
// about 20 ms within `seconds`.
double measure_peak(double seconds, int threads);

// GB/s at which `threads` threads read their parts of `bytes` over and over: the best of slices of about 20 ms within `seconds`.
double measure_bandwidth(double bytes, double seconds, int threads);

}  // namespace recurlm
