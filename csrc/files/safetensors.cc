#include "files/safetensors.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "base/utf8.h"
#include "files/json_reader.h"

namespace recurlm {

namespace {

constexpr std::size_t length_bytes = 8;
constexpr index most_elements = index{1} << 40;
constexpr std::size_t most_header = 100'000'000;  // as the library of the format has it
constexpr std::size_t most_axes = 8;

struct Entry {
  StoredArray array;
  index begin, end;  // bytes within the data
};

// In the order of ElementType.
constexpr const char* type_names[] = {"F32", "I32", "U16", "I8"};
constexpr index type_sizes[] = {4, 4, 2, 1};

ElementType read_type(JsonReader& json) {
  const std::string name = json.string();
  const auto* found = std::find(std::begin(type_names), std::end(type_names), name);
  if (found == std::end(type_names)) json.fail("arrays must be F32, I32, U16 or I8, got " + shortened(name));
  return static_cast<ElementType>(found - type_names);
}

std::vector<index> read_integers(JsonReader& json, std::size_t most) {
  std::vector<index> values;
  json.array([&] {
    if (values.size() == most) json.fail("a list has more than " + std::to_string(most) + " integers");
    values.push_back(json.integer(0, most_elements));
  });
  return values;
}

Entry read_entry(JsonReader& json, std::string_view name) {
  Entry entry{{std::string(name), ElementType::float32, {}, nullptr}, 0, 0};
  Fields fields(json, {"dtype", "shape", "data_offsets"});
  json.object([&](std::string_view key) {
    switch (fields.take(key)) {
      case 0: entry.array.type = read_type(json); break;
      case 1: entry.array.shape = read_integers(json, most_axes); break;
      default: {
        const std::vector<index> offsets = read_integers(json, 2);
        if (offsets.size() != 2 || offsets[0] > offsets[1]) json.fail("data_offsets must be a begin and an end");
        entry.begin = offsets[0];
        entry.end = offsets[1];
      }
    }
  });
  fields.require_all();
  return entry;
}

std::vector<Entry> read_header(std::string_view header) {
  JsonReader json(header);
  std::vector<Entry> entries;
  json.object([&](std::string_view name) {
    if (name == "__metadata__")
      json.object([&](std::string_view) { json.string(); });
    else
      entries.push_back(read_entry(json, name));
  });
  json.end();
  return entries;
}

// Where each array lies, once all is known to be as it must.
void place(std::vector<Entry>& entries, std::string_view data) {
  // Empty arrays begin where the next does.
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  index end = 0;
  for (Entry& entry : entries) {
    if (entry.begin != end || entry.end - entry.begin != size_of(entry.array))
      throw FormatError("the array \"" + shortened(entry.array.name) + "\" does not lie where its shape and the arrays before it say");
    end = entry.end;
    if (end > static_cast<index>(data.size())) throw FormatError("the array \"" + shortened(entry.array.name) + "\" ends behind the file");
    entry.array.data = data.data() + entry.begin;
    if (reinterpret_cast<std::uintptr_t>(entry.array.data) % static_cast<std::uintptr_t>(size_of(entry.array.type)) != 0)
      throw FormatError("the array \"" + shortened(entry.array.name) + "\" is not aligned to its elements");
  }
  if (end != static_cast<index>(data.size())) throw FormatError("something follows the last array");
}

// What `array` says of itself in a header, where it begins at `begin`. Names are ours: they need no escapes.
std::string header_entry(const StoredArray& array, index begin) {
  std::string shape;
  for (const index extent : array.shape) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
  return "\"" + array.name + R"(":{"dtype":")" + type_names[static_cast<int>(array.type)] + R"(","shape":[)" + shape +
         R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(begin + size_of(array)) + "]}";
}

}  // namespace

index size_of(ElementType type) { return type_sizes[static_cast<int>(type)]; }

index size_of(const StoredArray& array) {
  index elements = 1;
  for (const index extent : array.shape) {
    if (extent > 0 && elements > most_elements / extent) return most_elements * 8;
    elements *= extent;
  }
  return elements * size_of(array.type);
}

std::vector<StoredArray> read_safetensors(std::string_view bytes) {
  if (bytes.size() < length_bytes) throw FormatError("the file is too short for safetensors");
  std::uint64_t length = 0;
  for (std::size_t i = length_bytes; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  if (length > bytes.size() - length_bytes || length > most_header) throw FormatError("the header is too long");
  std::vector<Entry> entries = read_header(bytes.substr(length_bytes, length));
  place(entries, bytes.substr(length_bytes + length));
  std::vector<StoredArray> arrays;
  for (Entry& entry : entries) arrays.push_back(std::move(entry.array));
  std::sort(arrays.begin(), arrays.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto same = std::adjacent_find(arrays.begin(), arrays.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (same != arrays.end()) throw FormatError("the array \"" + shortened(same->name) + "\" is there twice");
  return arrays;
}

std::string write_safetensors(const std::vector<StoredArray>& arrays) {
  constexpr std::size_t line = 64;
  std::string header = "{";
  index end = 0;
  for (const StoredArray& array : arrays) {
    header += (header.size() > 1 ? "," : "") + header_entry(array, end);
    end += size_of(array);
  }
  header += "}";
  header.append(line - 1 - (length_bytes + header.size() - 1) % line, ' ');
  std::string bytes;
  bytes.reserve(length_bytes + header.size() + static_cast<std::size_t>(end));
  for (std::size_t i = 0; i < length_bytes; ++i) bytes += static_cast<char>(header.size() >> 8 * i & 0xff);
  bytes += header;
  for (const StoredArray& array : arrays) bytes.append(static_cast<const char*>(array.data), static_cast<std::size_t>(size_of(array)));
  return bytes;
}

}  // namespace recurlm
