// One source for host and device code.
#pragma once

#if defined(__CUDACC__)
#define ANYDRAFT_HD __host__ __device__
// What is asked for in many places: a copy of each would be too much for the compiler.
#define ANYDRAFT_SHARED_CODE __noinline__
#else
#define ANYDRAFT_HD
#define ANYDRAFT_SHARED_CODE
#endif
