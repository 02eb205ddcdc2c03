// Tokens that are found in the text before the model sees it.
#pragma once

#include <string_view>

#include "vocab/tables.h"

namespace anydraft::detail {

struct AddedMatch {
  const AddedToken* token = nullptr;  // nullptr: none is left
  const char *begin = nullptr, *end = nullptr;
};

// What to make of a match: take it, or leave it as text.
struct AddedRules {
  bool specials = true;  // a special's text is the special
  bool exact = false;    // only where the match's bytes are the token's bytes
  bool signs = false;    // spaces are the owner's space signs, which are no white space
};

// Matches from left to right, the longest at each place; those that the rules refuse are consumed.
class AddedMatcher {
 public:
  AddedMatcher(const Tables& tables, const Trie& trie, AddedRules rules, std::string_view text)
      : t_(tables),
        trie_(trie),
        rules_(rules),
        begin_(text.data()),
        end_(begin_ + text.size()),
        at_(begin_) {}

  // The next match that is taken, stripped white space included.
  AddedMatch next();

 private:
  bool taken(const AddedToken& token, AddedMatch& match) const;

  const Tables& t_;
  const Trie& trie_;
  const AddedRules rules_;
  const char *const begin_, *const end_;
  const char* at_;              // where the search goes on
  const char* free_ = nullptr;  // end of the last match taken
};

// The first place from which an entry reaches the end of the text and may go on behind it, whatever
// has been matched before; the end: there is none.
const char* open_match(const Trie& trie, std::string_view text);

}  // namespace anydraft::detail
