// The fields of tokenizer.json that are byte-pair encoding's, as recurlm/text/bpe.py writes them.
#pragma once

#include <memory>

#include "files/json_reader.h"
#include "text/bpe_tokenizer.h"

namespace recurlm {

// Each reads one value; FormatError where it is not the one that there is here.
void read_ascii_words(JsonReader& json);     // pre_tokenizer
void read_byte_level(JsonReader& json, bool cuts_words);
void read_special_tokens(JsonReader& json);  // added_tokens
std::unique_ptr<BpeTokenizer> read_bpe_model(JsonReader& json);

// One value, of which only this is supported.
void require_null(JsonReader& json, std::string_view field);
void require_false(JsonReader& json, std::string_view field);
void require_string(JsonReader& json, std::string_view field, std::string_view expected);

}  // namespace recurlm
