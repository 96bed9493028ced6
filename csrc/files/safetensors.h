// Files of named arrays: eight bytes of length, a JSON header, then the arrays one behind the other
// (https://github.com/huggingface/safetensors, "Format").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace recurlm {

enum class ElementType { float32, int32, uint16, int8 };

index size_of(ElementType type);  // bytes of an element

struct StoredArray {
  std::string name;
  ElementType type;
  std::vector<index> shape;
  const void* data;  // within the bytes of the file
};

index size_of(const StoredArray& array);  // its bytes; at most 2^43 where the shape says more

// All arrays in `bytes`, which must outlive them and be aligned to 8, by name. FormatError where the header, or what it says of the
// data, is not right: the arrays must follow one another without gaps, and fill the file.
std::vector<StoredArray> read_safetensors(std::string_view bytes);

// A file of these, in their order, the first of them on a multiple of 64 bytes.
std::string write_safetensors(const std::vector<StoredArray>& arrays);

}  // namespace recurlm
