// One source for host and device code.
#pragma once

#if defined(__CUDACC__)
#define ANYDRAFT_HD __host__ __device__
#else
#define ANYDRAFT_HD
#endif

// What is asked for in many places: a copy of each would be too much for the device's compiler.
#if defined(__CUDA_ARCH__)
#define ANYDRAFT_SHARED_CODE __noinline__
#else
#define ANYDRAFT_SHARED_CODE
#endif
