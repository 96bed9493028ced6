// Reference cases: inputs and expected outputs by name, as write_cases.py documents them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/views.h"

namespace recurlm::native {

struct Array {
  std::vector<index> shape;
  std::vector<float> floats;        // one of the two is empty
  std::vector<std::int32_t> ints;

  index size() const;
};

class Case {
 public:
  std::string family, name;

  void add(const std::string& array_name, Array array) { arrays_[array_name] = std::move(array); }

  bool has(const std::string& array_name) const { return arrays_.count(array_name) != 0; }
  const Array& array(const std::string& array_name) const;
  std::vector<float> floats(const std::string& array_name) const { return array(array_name).floats; }
  float number(const std::string& array_name) const { return array(array_name).floats.at(0); }
  std::int32_t option(const std::string& array_name) const { return array(array_name).ints.at(0); }
  // Null where the case has no such array.
  const float* optional(const std::string& array_name) const;
  ConstMatrixView matrix(const std::string& array_name) const;

  // A vector of the size of "expected <output>", filled with NaN, so that an element left unwritten shows.
  std::vector<float> unwritten(const std::string& output) const;
  // Throws std::runtime_error where `actual` is farther from "expected <output>" than the case's tolerance.
  void check(const std::string& output, const std::vector<float>& actual) const;

 private:
  std::map<std::string, Array> arrays_;
};

// Throws std::runtime_error for a file that is none, or cut off.
std::vector<Case> read_cases(const std::string& path);

}  // namespace recurlm::native
