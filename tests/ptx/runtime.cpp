#include "runtime.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "machine.h"

namespace ptx {
namespace {

uint64_t number_of(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

int capability() { return static_cast<int>(number_of("PTX_CAPABILITY", 9)); }

struct Image {
  const void* wrapper;
  std::unique_ptr<Module> module;
};
struct Kernel {
  Image* image;
  std::string name;
};

// What the next kernel of the stream needs to know of the last one.
struct Last {
  bool is_kernel = false;
  uint32_t grid = 0;
  Known before, after;
  Ended ended;
};

class Device {
 public:
  static Device& get() {
    static Device* device = new Device;  // outlives every static object that frees memory
    return *device;
  }

  cudaError_t launch(const void* entry, dim3 blocks, dim3 threads, void** arguments,
                     size_t dynamic_shared, cudaStream_t stream, uint32_t cluster,
                     bool programmatic);

  int target_of(const void* entry);  // capability that a kernel's code is for; 0: no such kernel

  GlobalMemory memory;
  Findings findings;
  std::unordered_map<const void*, Kernel> kernels;
  std::vector<std::unique_ptr<Image>> images;
  std::vector<Launched> launched;
  size_t waits = 0, allocations = 0, to_host = 0;
  std::map<const char*, size_t> pinned;  // address to bytes
  uint64_t seed = number_of("PTX_SEED", 0);

  bool is_pinned(const void* at) const {
    const auto* byte = static_cast<const char*>(at);
    const auto after = pinned.upper_bound(byte);
    if (after == pinned.begin()) return false;
    const auto& [begin, bytes] = *std::prev(after);
    return byte < begin + bytes;
  }

  // Anything in the stream that is no kernel waits for everything before it.
  void order() { last_[nullptr].is_kernel = false; }

 private:
  Device() { std::atexit(tell); }
  static void tell() {
    Device& device = get();
    if (device.launched.empty()) return;
    std::fflush(stdout);
    std::fprintf(stderr, "ptx: %zu launches interpreted, %zu findings\n", device.launched.size(),
                 device.findings.count());
    if (device.findings.count() > 0) _exit(9);
  }
  const Function* function_of(const Kernel& kernel);
  static const char* invalid(const Launch& launch, size_t dynamic_shared, bool programmatic);
  void set_order(Launch& launch, bool programmatic);

  std::map<cudaStream_t, Last> last_;
  uint32_t grids_ = 0;
};

const Function* Device::function_of(const Kernel& kernel) {
  Image& image = *kernel.image;
  if (!image.module) image.module = translate(ptx_of_fat_binary(image.wrapper));
  for (const Function& one : image.module->functions) {
    if (one.is_entry && one.name == kernel.name) return &one;
  }
  return nullptr;
}

int Device::target_of(const void* entry) {
  const auto found = kernels.find(entry);
  const bool known = found != kernels.end() && function_of(found->second);
  return known ? found->second.image->module->capability : 0;
}

// Limits of compute capability 9.0, without opting into more.
const char* Device::invalid(const Launch& launch, size_t dynamic_shared, bool programmatic) {
  const Function& function = *launch.function;
  if (launch.blocks < 1 || launch.blocks > 0x7fffffffu) return "the grid";
  if (launch.threads < 1 || launch.threads > function.max_threads) return "threads a block";
  if (function.shared + dynamic_shared > 48 * 1024) return "more than 48 KB of shared memory";
  const uint32_t cluster = launch.cluster;
  if (cluster < 1 || cluster > kMostBlocks || launch.blocks % cluster != 0) return "the cluster";
  if (launch.parameters.size() > kParamSize) return "more than 4 KB of parameters";
  const bool old = capability() < 9 || launch.module->capability < 90;
  if (old && (cluster > 1 || programmatic)) return "attributes of 9.0";
  return nullptr;
}

// Which grids are certain to have ended before griddepcontrol.wait and after it.
void Device::set_order(Launch& launch, bool programmatic) {
  const Last& last = last_[nullptr];
  launch.before = launch.after = {launch.grid - 1, 0};
  if (!programmatic || !last.is_kernel) return;
  // This grid begins when all blocks of the last one have allowed it. So it knows what those knew
  // at that time.
  const bool knew_all = last.ended.some_waited && last.ended.all_waited_first;
  launch.before = knew_all ? last.after : last.before;
  // That the last grid has ended says so of the ones before it only where it waited for them.
  const bool last_was_ordered = last.before.upto + 1 == last.grid;
  if (!last.ended.some_waited && !last_was_ordered) {
    launch.after = {last.before.upto, last.grid};
  }
}

cudaError_t Device::launch(const void* entry, dim3 blocks, dim3 threads, void** arguments,
                           size_t dynamic_shared, cudaStream_t stream, uint32_t cluster,
                           bool programmatic) {
  const auto found = kernels.find(entry);
  if (found == kernels.end()) return cudaErrorInvalidDeviceFunction;
  const Function* function = function_of(found->second);
  if (!function) return cudaErrorInvalidDeviceFunction;
  if (blocks.y * blocks.z * threads.y * threads.z != 1) return cudaErrorNotSupported;
  Launch launch;
  launch.module = found->second.image->module.get();
  launch.function = function;
  launch.blocks = blocks.x, launch.threads = threads.x, launch.cluster = cluster;
  for (size_t i = 0; i < function->parameters.size(); ++i) {
    const Variable& one = function->parameters[i];
    launch.parameters.resize(one.offset + one.size);
    std::memcpy(launch.parameters.data() + one.offset, arguments[i], one.size);
  }
  if (const char* what = invalid(launch, dynamic_shared, programmatic)) {
    findings.add("a launch beyond the limits", nullptr, -1, function->name + ": " + what);
    return cudaErrorInvalidConfiguration;
  }
  launch.grid = ++grids_;
  set_order(launch, programmatic);
  launched.push_back({function->name, stream, blocks.x, threads.x, cluster, programmatic});
  if (number_of("PTX_VERBOSE", 0)) {
    std::fprintf(stderr, "ptx: %u blocks of %u, clusters of %u: %s\n", blocks.x, threads.x, cluster,
                 function->name.c_str());
  }
  const Ended ended = Machine(memory, findings, launch, seed ? seed + launch.grid : 0).run();
  last_[nullptr] = {true, launch.grid, launch.before, launch.after, ended};
  return cudaSuccess;
}

}  // namespace

Findings& findings() { return Device::get().findings; }
void set_seed(uint64_t seed) { Device::get().seed = seed; }
std::vector<Launched>& launched() { return Device::get().launched; }
size_t waits_of_host() { return Device::get().waits; }
size_t live_allocations() { return Device::get().memory.live(); }
size_t allocations() { return Device::get().allocations; }
size_t bytes_to_host() { return Device::get().to_host; }

}  // namespace ptx

// ---- What nvcc's objects and our sources call
// ----------------------------------------------------
using ptx::Device;

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  auto& images = Device::get().images;
  images.push_back(std::make_unique<ptx::Image>(ptx::Image{wrapper, nullptr}));
  return reinterpret_cast<void**>(images.back().get());
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** image, const char* entry, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  Device::get().kernels[entry] = {reinterpret_cast<ptx::Image*>(image), name};
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* entry) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(entry));
  return cudaSuccess;
}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, cudaStream_t) { return 1; }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) {
  return cudaErrorInvalidConfiguration;  // no kernel<<<...>>> here
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 blocks, dim3 threads, void** arguments,
                               size_t shared, cudaStream_t stream) {
  return Device::get().launch(kernel, blocks, threads, arguments, shared, stream, 1, false);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* entry,
                                void** arguments) {
  uint32_t cluster = 1;
  bool programmatic = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& one = config->attrs[i];
    if (one.id == cudaLaunchAttributeClusterDimension) {
      cluster = one.val.clusterDim.x * one.val.clusterDim.y * one.val.clusterDim.z;
    } else if (one.id == cudaLaunchAttributeProgrammaticStreamSerialization) {
      programmatic = one.val.programmaticStreamSerializationAllowed != 0;
    } else {
      return cudaErrorNotSupported;
    }
  }
  return Device::get().launch(entry, config->gridDim, config->blockDim, arguments,
                              config->dynamicSmemBytes, config->stream, cluster, programmatic);
}

cudaError_t cudaMalloc(void** at, size_t bytes) {
  ++Device::get().allocations;
  *at = Device::get().memory.allocate(bytes);
  return *at || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* at) {
  ++Device::get().waits;
  return Device::get().memory.free(at) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostAlloc(void** at, size_t bytes, unsigned) {
  Device& device = Device::get();
  ++device.allocations;
  *at = std::calloc(bytes, 1);
  device.pinned[static_cast<char*>(*at)] = bytes;
  return *at ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* at) {
  if (!at) return cudaSuccess;
  ++Device::get().waits;
  const bool known = Device::get().pinned.erase(static_cast<char*>(at)) > 0;
  std::free(at);
  return known ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMallocAsync(void** at, size_t bytes, cudaStream_t) { return cudaMalloc(at, bytes); }
cudaError_t cudaFreeAsync(void* at, cudaStream_t) {
  Device::get().order();
  return Device::get().memory.free(at) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  Device& device = Device::get();
  device.order();
  const bool fine = kind == cudaMemcpyHostToDevice ? device.memory.host_touches(to, bytes, true)
                    : kind == cudaMemcpyDeviceToHost
                        ? device.memory.host_touches(from, bytes, false)
                        : false;
  if (!fine) {
    device.findings.add("a copy outside of what lives", nullptr, -1, std::to_string(bytes));
    return cudaErrorInvalidValue;
  }
  if (bytes > 0) std::memcpy(to, from, bytes);
  const bool down = kind == cudaMemcpyDeviceToHost;
  if (down) device.to_host += bytes;
  device.waits += !device.is_pinned(down ? to : from);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const size_t waits = Device::get().waits + 1;
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  Device::get().waits = waits;
  return status;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  ++Device::get().waits;
  Device::get().order();
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaStreamSynchronize(nullptr); }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* entry) {
  *attributes = {};
  attributes->ptxVersion = Device::get().target_of(entry);
  return attributes->ptxVersion > 0 ? cudaSuccess : cudaErrorInvalidDeviceFunction;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (attribute == cudaDevAttrComputeCapabilityMajor) {
    *value = ptx::capability();
  } else if (attribute == cudaDevAttrMultiProcessorCount) {
    *value = static_cast<int>(ptx::number_of("PTX_PROCESSORS", 132));
  } else {
    return cudaErrorNotSupported;
  }
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidConfiguration ? "invalid configuration"
         : error == cudaErrorMemoryAllocation   ? "out of memory"
                                                : "error of the stand-in runtime";
}

}  // extern "C"
