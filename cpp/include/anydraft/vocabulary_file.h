// A vocabulary and its encoder as one file that is used where it lies: no parsing, no JSON.
#pragma once

#include <string>

#include "anydraft/vocabulary.h"

namespace anydraft {

// Maps a file that write_vocabulary made. The pages are shared between processes; the file may be
// replaced (renamed over) at any time, but must not be written to in place while it is in use.
// Throws Error(kVocabulary) for a file that is truncated, corrupted, not such a file, or of another
// version of the format, and Error(kValue) where it cannot be opened.
//
//   anydraft::Vocabulary vocabulary = anydraft::read_vocabulary("llama3.vocab");
//   anydraft::TokenIds ids = vocabulary.encode("Hello");
Vocabulary read_vocabulary(const std::string& path);

// Writes to a temporary name beside `path`, then renames. Throws Error(kVocabulary) for a
// vocabulary whose encoder is a function of the caller's, and Error(kValue) where it cannot be
// written.
void write_vocabulary(const Vocabulary& vocabulary, const std::string& path);

}  // namespace anydraft
