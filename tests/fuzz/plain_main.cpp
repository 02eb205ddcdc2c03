// Stands in for libFuzzer where there is no clang: seeds changed at random, without feedback.
//   fuzz SECONDS SEED_FOLDER
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;
using Random = std::mt19937_64;

void change(Bytes& bytes, Random& random) {
  const auto below = [&](size_t end) { return end == 0 ? 0 : random() % end; };
  static const uint8_t kTelling[] = {0, 1, 0x7F, 0x80, 0xE2, 0xFF, ' ', '\n'};
  const size_t at = below(bytes.size());
  switch (random() % 5) {
    case 0:
      if (!bytes.empty()) bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8));
      break;
    case 1:
      if (!bytes.empty()) bytes[at] = kTelling[random() % sizeof(kTelling)];
      break;
    case 2:
      bytes.insert(bytes.begin() + at, static_cast<uint8_t>(random()));
      break;
    case 3:
      bytes.erase(bytes.begin() + at, bytes.begin() + at + below(bytes.size() - at));
      break;
    default:  // a word of a table
      for (size_t i = at & ~size_t{3}, end = i + 4; i < end && i < bytes.size(); ++i) {
        bytes[i] = kTelling[random() % sizeof(kTelling)];
      }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  std::vector<Bytes> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(arguments[2])) {
    std::ifstream file(entry.path(), std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (seeds.empty()) return 2;
  Random random(1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(atoi(arguments[1]));
  long runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    Bytes input = seeds[random() % seeds.size()];
    for (size_t changes = random() % 8; changes > 0; --changes) change(input, random);
    std::ofstream("last-input", std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()), input.size());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%ld inputs\n", runs);
  return 0;
}
