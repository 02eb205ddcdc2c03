// GGUF files, versions 2 and 3, little-endian: metadata and tensors. What the header claims is
// checked against the file's size before anything is made of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decoder/json.h"
#include "decoder/model_file.h"

namespace anydraft::detail {

class GgufFile {
 public:
  // Throws Error(kValue) that says what is wrong with the file.
  explicit GgufFile(const std::string& path);

  const MappedFile& file() const { return *file_; }
  const Tensors& tensors() const { return tensors_; }
  // An object. Long lists have no items there: Python reads them, in gguf_metadata.py.
  const Json& metadata() const { return metadata_; }
  // Ids of the tokens with one of these texts, ascending.
  std::vector<int32_t> tokens_with(const std::vector<std::string_view>& texts) const;

 private:
  std::shared_ptr<MappedFile> file_;
  Json metadata_;
  uint64_t tokens_at_ = 0;  // where the value tokenizer.ggml.tokens begins; 0: none
  Tensors tensors_;
};

}  // namespace anydraft::detail
