// What the core throws. It never prints and never aborts.
#pragma once

#include <stdexcept>
#include <string>

namespace anydraft {

enum class ErrorKind {
  kValue,                 // the caller's argument is wrong
  kVocabulary,            // vocabularies that cannot be bridged, or a table that contradicts itself
  kUnsupportedTokenizer,  // a tokeniser component that is not supported, named
  kNonFiniteLogits,       // NaN or +inf in a row of logits, or a row without any mass
  kCudaUnavailable,       // no CUDA in this build, or no device
  kCuda,                  // the device failed: memory, a launch, a fault of work before
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what) : std::runtime_error(what), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace anydraft
