// From exceptions to statuses: no exception leaves the library.
#pragma once

#include <string>
#include <string_view>

#include "capi/recurlm.h"
#include "files/format_error.h"

namespace recurlm::capi {

// An argument that is not possible.
struct ArgumentError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool ok, const char* sentence);
std::string_view text_of(const char* text, std::size_t length);

// The status of the exception that is being handled; its sentence becomes the thread's message.
recurlm_status status_of_exception() noexcept;

template <typename Body>
recurlm_status call(Body&& body) noexcept {
  try {
    body();
    return RECURLM_OK;
  } catch (...) {
    return status_of_exception();
  }
}

}  // namespace recurlm::capi
