// Safetensors files: one file, or those that an index names, in a model's folder.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decoder/json.h"
#include "decoder/model_file.h"

namespace anydraft::detail {

// A whole JSON file. Throws Error(kValue) where it cannot be read.
Json read_json(const std::string& path);

class SafetensorsFolder {
 public:
  // `folder` holds model.safetensors, or model.safetensors.index.json and the files it names.
  explicit SafetensorsFolder(const std::string& folder);
  const Tensors& tensors() const { return tensors_; }

 private:
  void read(const std::string& path);
  std::vector<std::unique_ptr<MappedFile>> files_;
  Tensors tensors_;
};

}  // namespace anydraft::detail
