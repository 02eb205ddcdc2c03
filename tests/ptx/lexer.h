// Splits PTX into tokens.
#pragma once

#include <cctype>
#include <cstring>
#include <stdexcept>
#include <string>

namespace ptx {

// Tokens are words, numbers and single marks. Comments are skipped.
class Lexer {
 public:
  explicit Lexer(const std::string& text) : at_(text.c_str()) {}

  const std::string& peek() {
    if (!have_) read();
    return token_;
  }
  std::string take() {
    peek();
    have_ = false;
    return std::move(token_);
  }
  bool accept(const char* wanted) {
    if (peek() != wanted) return false;
    have_ = false;
    return true;
  }
  void expect(const char* wanted) {
    const std::string got = take();
    if (got != wanted) fail("expected " + std::string(wanted) + ", got " + got);
  }
  // The rest of the line.
  std::string line() {
    have_ = false;
    const char* begin = at_;
    while (*at_ && *at_ != '\n') ++at_;
    return std::string(begin, at_);
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("[ptx] line " + std::to_string(number_) + ": " + what + "; near " +
                             std::string(at_, strnlen(at_, 60)));
  }

 private:
  void read() {
    have_ = true;
    for (;; ++at_) {
      if (*at_ == '\n') ++number_;
      if (*at_ == '/' && at_[1] == '/') {
        while (at_[1] && at_[1] != '\n') ++at_;
      } else if (!std::isspace(static_cast<unsigned char>(*at_))) {
        break;
      }
    }
    const char* begin = at_;
    const auto in_word = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.' ||
             c == '%';
    };
    if (*at_ == '"') {
      for (++at_; *at_ && *at_ != '"'; ++at_) {
      }
      ++at_;
    } else if (in_word(*at_)) {
      while (in_word(*at_)) ++at_;
    } else if (*at_) {
      ++at_;
    }
    token_.assign(begin, at_);
  }

  const char* at_;
  int number_ = 1;
  bool have_ = false;
  std::string token_;
};

}  // namespace ptx
