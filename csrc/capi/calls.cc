#include "capi/calls.h"

#include <new>
#include <stdexcept>
#include <system_error>

#include "text/tokenizer.h"

namespace recurlm::capi {

namespace {

std::string& message() noexcept {
  thread_local std::string text;
  return text;
}

recurlm_status fail(recurlm_status status, const char* sentence) noexcept {
  try {
    message() = sentence;
  } catch (...) {  // no memory for the sentence
    message().clear();
  }
  return status;
}

}  // namespace

void require(bool ok, const char* sentence) {
  if (!ok) throw ArgumentError(sentence);
}

std::string_view text_of(const char* text, std::size_t length) {
  require(text != nullptr || length == 0, "text must not be null");
  return {text, length};
}

recurlm_status status_of_exception() noexcept {
  try {
    throw;
  } catch (const ArgumentError& error) {
    return fail(RECURLM_INVALID_ARGUMENT, error.what());
  } catch (const std::system_error& error) {
    return fail(RECURLM_IO_ERROR, error.what());
  } catch (const FormatError& error) {
    return fail(RECURLM_DAMAGED_FILE, error.what());
  } catch (const TextError& error) {
    return fail(RECURLM_UNKNOWN_TEXT, error.what());
  } catch (const std::domain_error& error) {
    return fail(RECURLM_NOT_FINITE, error.what());
  } catch (const std::bad_alloc&) {
    return fail(RECURLM_OUT_OF_MEMORY, "there is not enough memory");
  } catch (const std::exception& error) {
    return fail(RECURLM_INTERNAL_ERROR, error.what());
  } catch (...) {
    return fail(RECURLM_INTERNAL_ERROR, "an unknown error");
  }
}

}  // namespace recurlm::capi

extern "C" const char* recurlm_message(void) { return recurlm::capi::message().c_str(); }
