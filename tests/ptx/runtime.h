// Stands in for the CUDA runtime: a device of compute capability 9.0 on which kernels' PTX is
// interpreted, each launch at once. What a program did is told here; the environment says how:
//   PTX_SEED        0: in order; else warps and lanes in an order of that seed
//   PTX_PROCESSORS  multiprocessors that the device says it has (132)
//   PTX_CAPABILITY  major number (9); 8 with a build for 80-virtual
//   PTX_VERBOSE     each launch in a line
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "findings.h"

namespace ptx {

struct Launched {
  std::string kernel;
  void* stream;
  uint32_t blocks, threads, cluster;
  bool programmatic;
};

Findings& findings();
void set_seed(uint64_t seed);
std::vector<Launched>& launched();
size_t waits_of_host();     // calls that waited for the device; a copy by memory not pinned does
size_t live_allocations();  // of device memory
size_t allocations();       // made so far, of device memory and pinned
size_t bytes_to_host();     // copied so far

}  // namespace ptx
