// Bytes that come in pieces, as text.
#pragma once

#include <string>
#include <string_view>

namespace recurlm {

// Holds back the bytes of a character until its last has come; what is not UTF-8 becomes U+FFFD, once for as many bytes as could
// have begun a character.
class ByteStream {
 public:
  std::string feed(std::string_view bytes);
  std::string finish();

 private:
  std::string held_;
};

}  // namespace recurlm
