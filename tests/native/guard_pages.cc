// Products whose operands end where memory ends: a kernel that reads or writes beyond them ends the process. Sanitizers do not see
// what tiles read.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/table.h"

namespace recurlm::native {

namespace {

using namespace kernels;

// `count` elements that end at a page which nobody may touch, begin where they happen to, and are all bytes 0xff: NaN, or -1.
template <typename T>
class Guarded {
 public:
  explicit Guarded(index count) : count_(static_cast<std::size_t>(count)) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    size_ = (count_ * sizeof(T) + page - 1) / page * page + page;
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::runtime_error("no memory");
    std::memset(memory_, 0xff, size_ - page);
    if (mprotect(static_cast<char*>(memory_) + size_ - page, page, PROT_NONE) != 0) throw std::runtime_error("no guard page");
    data_ = reinterpret_cast<T*>(static_cast<char*>(memory_) + size_ - page - count_ * sizeof(T));
  }
  ~Guarded() { munmap(memory_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() const { return data_; }
  T& operator[](index i) const { return data_[i]; }
  T* begin() const { return data_; }
  T* end() const { return data_ + count_; }

 private:
  std::size_t count_, size_ = 0;
  void* memory_ = nullptr;
  T* data_ = nullptr;
};

// Small integers, which every precision holds and adds up exactly.
int value(index i, index j) { return static_cast<int>((i * 7 + j * 13) % 11) - 5; }
bfloat16 to_bfloat16(int value) {
  const auto number = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return {static_cast<std::uint16_t>(bits >> 16)};
}

struct Shape {
  index rows, depth, cols;
  index panels() const { return (cols + panel_width - 1) / panel_width; }
};

std::vector<Column> columns_of(const Shape& s) {
  std::vector<Column> columns;
  for (index q = 0; q < 2 * s.panels(); ++q)
    columns.push_back({q * half_width, std::clamp(s.cols - q * half_width, index{0}, half_width)});
  return columns;
}

// B with `group` rows together, or zeros where there is none.
template <typename T, typename Make>
void fill_panels(const Shape& s, index group, const Guarded<T>& b, Make&& make) {
  const index groups = (s.depth + group - 1) / group;
  for (index p = 0; p < s.panels(); ++p)
    for (index k = 0; k < groups * group; ++k)
      for (index c = 0; c < panel_width; ++c)
        b[((p * groups + k / group) * panel_width + c) * group + k % group] =
            make(k < s.depth && p * panel_width + c < s.cols ? value(k, p * panel_width + c) : 0);
}

void check(const Shape& s, const Guarded<float>& c, const char* what) {
  for (index m = 0; m < s.rows; ++m)
    for (index n = 0; n < s.cols; ++n) {
      int sum = 0;
      for (index k = 0; k < s.depth; ++k) sum += value(m, k) * value(k, n);
      if (std::fabs(c[m * s.cols + n] - static_cast<float>(sum)) > 1e-4f * static_cast<float>(std::abs(sum)))
        throw std::runtime_error(std::string(what) + " is wrong at " + std::to_string(s.rows) + " x " + std::to_string(s.depth) + " x " +
                                 std::to_string(s.cols));
    }
}

// In float32 and bfloat16.
template <typename Left, typename Right, typename MakeLeft, typename MakeRight>
void multiply(const Shape& s, void (*gemm)(const GemmOf<Left, Right>&), MakeLeft&& left, MakeRight&& right, const char* what) {
  const index left_group = sizeof(Left) == sizeof(bfloat16) ? 2 : 1, right_group = sizeof(Right) == sizeof(bfloat16) ? 2 : 1;
  const index a_row = (s.depth + left_group - 1) / left_group * left_group;
  const index b_panel = (s.depth + right_group - 1) / right_group * right_group * panel_width;
  const Guarded<Left> a(s.rows * a_row);
  const Guarded<Right> b(s.panels() * b_panel);
  const Guarded<float> c(s.rows * s.cols);
  const std::vector<Column> columns = columns_of(s);
  for (index m = 0; m < s.rows; ++m)
    for (index k = 0; k < a_row; ++k) a[m * a_row + k] = left(k < s.depth ? value(m, k) : 0);
  fill_panels(s, right_group, b, right);
  std::fill(c.begin(), c.end(), 0.0f);
  gemm({s.rows, s.depth, s.panels(), a.data(), a_row, panel_width, b.data(), b_panel, c.data(), s.cols, columns.data(), Init::accumulate,
        nullptr});
  check(s, c, what);
}

// `from`: what C begins as, itself or rows that lie elsewhere.
void multiply_int8(const Shape& s, Init from) {
  constexpr index initial_rows = 3;
  const index a_row = (s.depth + half_width - 1) / half_width * half_width, b_panel = (s.depth + 3) / 4 * 4 * panel_width;
  const Guarded<float> x(s.rows * s.depth), c(s.rows * s.cols), a_scales(s.rows), b_scales(s.panels() * panel_width);
  const Guarded<std::int8_t> a(s.rows * a_row), b(s.panels() * b_panel);
  const Guarded<std::int32_t> sums(s.panels() * panel_width);
  const std::vector<Column> columns = columns_of(s);
  for (index m = 0; m < s.rows; ++m)
    for (index k = 0; k < s.depth; ++k) x[m * s.depth + k] = static_cast<float>(value(m, k));
  fill_panels(s, 4, b, [](int integer) { return static_cast<std::int8_t>(integer); });
  for (index n = 0; n < s.panels() * panel_width; ++n) {
    sums[n] = 0;
    for (index k = 0; n < s.cols && k < s.depth; ++k) sums[n] += value(k, n);
  }
  const Guarded<float> initial(s.panels() * initial_rows * panel_width);
  const Guarded<std::int32_t> rows(s.rows);
  for (index m = 0; m < s.rows; ++m) rows[m] = static_cast<std::int32_t>((m + 2) % initial_rows);
  for (index i = 0; i < s.panels() * initial_rows * panel_width; ++i) initial[i] = static_cast<float>(i % 7);
  const auto begins_as = [&](index m, index n) {
    return initial[(n / panel_width * initial_rows + rows[m]) * panel_width + n % panel_width];
  };
  std::fill(b_scales.begin(), b_scales.end(), 1.0f);
  for (index m = 0; m < s.rows; ++m)
    for (index n = 0; n < s.cols; ++n) c[m * s.cols + n] = from == Init::accumulate ? begins_as(m, n) : -1e9f;
  table().quantize_rows(s.rows, s.depth, x.data(), s.depth, a.data(), a_row, a_scales.data());
  table().gemm_int8({s.rows, s.depth, s.panels(), a.data(), a_row, a_scales.data(), b.data(), b_panel, b_scales.data(), sums.data(), c.data(),
                     s.cols, columns.data(), from, nullptr, initial.data(), initial_rows * panel_width, rows.data()});
  // Quantised, x is right to 1/254 of its largest value; so are its products with at most 5.
  for (index m = 0; m < s.rows; ++m)
    for (index n = 0; n < s.cols; ++n) {
      float sum = begins_as(m, n);
      for (index k = 0; k < s.depth; ++k) sum += static_cast<float>(value(m, k) * value(k, n));
      if (std::fabs(c[m * s.cols + n] - sum) > static_cast<float>(s.depth) * 5 * 5 / 254 + 1e-4f)
        throw std::runtime_error("int8 is wrong");
    }
}

void check_all() {
  const auto as_float = [](int x) { return static_cast<float>(x); };
  for (const index rows : {1, 2, 3, 7, 13, 14, 16, 17, 31, 32, 33, 49})
    for (const index depth : {1, 2, 3, 4, 5, 15, 31, 32, 33, 63, 64, 65, 70})
      for (const index cols : {1, 15, 16, 17, 32, 33, 50}) {
        const Shape s{rows, depth, cols};
        multiply<float, float>(s, table().gemm, as_float, as_float, "float32");
        multiply<float, bfloat16>(s, table().gemm_bfloat16_weights, as_float, to_bfloat16, "bfloat16 weights");
        multiply<bfloat16, bfloat16>(s, table().gemm_bfloat16, to_bfloat16, to_bfloat16, "bfloat16");
        multiply_int8(s, Init::accumulate);
        multiply_int8(s, Init::rows);
      }
}

}  // namespace

}  // namespace recurlm::native

int main() try {
  for (const recurlm::Isa isa : recurlm::supported_isas()) {
    recurlm::set_isa(recurlm::isa_name(isa));
    recurlm::native::check_all();
    std::printf("%s: nothing beyond the operands\n", recurlm::isa_name(isa));
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
