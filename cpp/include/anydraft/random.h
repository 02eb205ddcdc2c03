// Counter-based random numbers: a uniform is a pure function of its key, so a request's tokens do
// not depend on what else is in the batch, on the device or on the number of ranks.
//
// Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <cstdint>

#include "anydraft/detail/host_device.h"

namespace anydraft {

// What a uniform decides. No two decisions share a stream (a shared uniform biases the output).
enum class Purpose : uint32_t {
  kDraft = 0,
  kAccept = 1,
  kResidual = 2,
  kBonus = 3,
  kSelect = 4,
  kTarget = 5,
};

struct RandomKey {
  uint64_t seed = 0;
  uint32_t request = 0;
  uint32_t position = 0;  // committed length at the start of the round; for kTarget: of the token
  uint32_t node = 0;
  Purpose purpose = Purpose::kDraft;
  uint32_t attempt = 0;
};

struct PhiloxBlock {
  uint32_t word[4];
};

ANYDRAFT_HD inline PhiloxBlock philox4x32_10(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// A uniform number strictly between 0 and 1: (52 random bits + 1/2) / 2^52, which a double holds
// exactly (with 53 bits the half would round, and the largest value would become 1).
ANYDRAFT_HD inline double uniform(const RandomKey& key) {
  const uint32_t tag = static_cast<uint32_t>(key.purpose) + 16u * key.attempt;
  const PhiloxBlock block =
      philox4x32_10({{key.request, key.position, key.node, tag}}, static_cast<uint32_t>(key.seed),
                    static_cast<uint32_t>(key.seed >> 32));
  const uint64_t bits = (uint64_t{block.word[1]} << 32 | block.word[0]) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

}  // namespace anydraft
