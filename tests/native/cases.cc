#include "cases.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace recurlm::native {

namespace {

template <typename T>
std::vector<T> read_values(std::ifstream& file, std::size_t count) {
  std::vector<T> values(count);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) throw std::runtime_error("the file of cases is cut off");
  return values;
}

std::string read_name(std::ifstream& file) {
  const auto length = read_values<std::uint32_t>(file, 1)[0];
  const auto bytes = read_values<char>(file, length);
  return {bytes.begin(), bytes.end()};
}

Array read_array(std::ifstream& file) {
  const auto head = read_values<std::uint32_t>(file, 2);  // kind, rank
  const auto extents = read_values<std::uint32_t>(file, head[1]);
  Array array;
  array.shape.assign(extents.begin(), extents.end());
  const auto count = static_cast<std::size_t>(array.size());
  if (head[0] == 0)
    array.floats = read_values<float>(file, count);
  else
    array.ints = read_values<std::int32_t>(file, count);
  return array;
}

}  // namespace

index Array::size() const {
  index size = 1;
  for (index extent : shape) size *= extent;
  return size;
}

const Array& Case::array(const std::string& array_name) const {
  const auto found = arrays_.find(array_name);
  if (found == arrays_.end()) throw std::runtime_error(name + " has no array '" + array_name + "'");
  return found->second;
}

const float* Case::optional(const std::string& array_name) const {
  return has(array_name) ? array(array_name).floats.data() : nullptr;
}

ConstMatrixView Case::matrix(const std::string& array_name) const {
  const Array& a = array(array_name);
  return {a.floats.data(), a.shape.at(0), a.shape.at(1)};
}

std::vector<float> Case::unwritten(const std::string& output) const {
  return std::vector<float>(array("expected " + output).floats.size(), std::numeric_limits<float>::quiet_NaN());
}

void Case::check(const std::string& output, const std::vector<float>& actual) const {
  const std::vector<float>& expected = array("expected " + output).floats;
  if (actual.size() != expected.size()) throw std::runtime_error(output + " has another size than expected");
  float scale = 1;
  for (float value : expected) scale = std::max(scale, std::abs(value));
  const float bound = number("tolerance") * scale;
  for (std::size_t i = 0; i < actual.size(); ++i)
    if (!(std::abs(actual[i] - expected[i]) <= bound))  // so that NaN fails
      throw std::runtime_error(output + "[" + std::to_string(i) + "] is " + std::to_string(actual[i]) + ", not " +
                               std::to_string(expected[i]));
}

std::vector<Case> read_cases(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  const auto magic = read_values<char>(file, 8);
  if (std::string(magic.begin(), magic.end()) != "rlcases1") throw std::runtime_error(path + " holds no cases");
  std::vector<Case> cases;
  while (file.peek() != std::ifstream::traits_type::eof()) {
    const std::string name = read_name(file);  // family/case/array
    const auto first = name.find('/'), last = name.rfind('/');
    const std::string family = name.substr(0, first), of = name.substr(first + 1, last - first - 1);
    if (cases.empty() || cases.back().family != family || cases.back().name != of) {
      cases.emplace_back();
      cases.back().family = family;
      cases.back().name = of;
    }
    cases.back().add(name.substr(last + 1), read_array(file));
  }
  return cases;
}

}  // namespace recurlm::native
