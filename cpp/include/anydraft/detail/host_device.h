// One source for host and device code.
#pragma once

#if defined(__CUDACC__)
#define ANYDRAFT_HD __host__ __device__
#else
#define ANYDRAFT_HD
#endif
