// What torch and Triton ask of CUDA's driver, and of cuBLAS, on a GPU that computes nothing: see runtime.cpp.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#define EXPORT extern "C" __attribute__((visibility("default")))
typedef cudaError_t E;
static const E OK = cudaSuccess;
EXPORT int nullgpu_unknown(const char* name, int error);
extern "C" void nullgpu_launch(const char* name, cudaStream_t stream);
extern "C" void* nullgpu_fresh();

// The driver. torch asks for many functions at once and calls few: each that is not here tells its name if called.
static const int MISSING = 256;
static std::string missing[MISSING];
template <int N> static int missed() { return nullgpu_unknown(missing[N].c_str(), cudaErrorNotSupported); }
template <int... N> static void* missed_at(int place, std::integer_sequence<int, N...>) {
    static int (*const all[])() = {missed<N>...};
    return (void*)all[place];
}
EXPORT E cudaGetDriverEntryPointByVersion(
    const char* name, void** at, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* found) {
    static int next;
    if (found) *found = cudaDriverEntryPointSuccess;
    if ((*at = dlsym(RTLD_DEFAULT, name))) return OK;
    static std::mutex mu;
    std::lock_guard<std::mutex> guard(mu);
    if (next == MISSING) abort();
    missing[next] = name;
    *at = missed_at(next++, std::make_integer_sequence<int, MISSING>());
    return OK;
}
static int context;
EXPORT int cuInit(unsigned) { return 0; }
EXPORT int cuDeviceGet(int* device, int n) { *device = n; return n != 0; }
EXPORT int cuDeviceGetCount(int* n) { *n = 1; return 0; }
EXPORT int cuDeviceGetAttribute(int* v, int asked, int n) {  // numbered as the runtime's
    return cudaDeviceGetAttribute(v, (cudaDeviceAttr)asked, n);
}
EXPORT int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* on) { if (flags) *flags = 0; *on = 1; return 0; }
EXPORT int cuDevicePrimaryCtxRetain(void** is, int) { *is = &context; return 0; }
EXPORT int cuCtxGetCurrent(void** is) { *is = &context; return 0; }
EXPORT int cuCtxSetCurrent(void*) { return 0; }
EXPORT int cuCtxGetDevice(int* device) { *device = 0; return 0; }
EXPORT int cuModuleLoad(void** module, const char*) { *module = nullgpu_fresh(); return 0; }
EXPORT int cuModuleLoadData(void** module, const void*) { *module = nullgpu_fresh(); return 0; }
EXPORT int cuModuleUnload(void*) { return 0; }
EXPORT int cuModuleGetFunction(void** f, void*, const char* name) { *f = strdup(name); return 0; }
EXPORT int cuFuncGetAttribute(int* v, int asked, void*) { *v = asked == 0 ? 1024 : asked == 4 ? 64 : 0; return 0; }
EXPORT int cuFuncSetAttribute(void*, int, int) { return 0; }
EXPORT int cuFuncSetCacheConfig(void*, int) { return 0; }
EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int, size_t) { *n = 1; return 0; }
EXPORT int cuTensorMapEncodeTiled(void*, ...) { return 0; }
EXPORT int cuPointerGetAttribute(void** value, int, void* at) { *value = at; return 0; }  // its device address
EXPORT int cuGetErrorString(int, const char** is) { *is = "an error of the null GPU"; return 0; }
EXPORT int cuLaunchKernel(void* f, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          cudaStream_t stream, void**, void**) {
    nullgpu_launch((char*)f, stream);
    return 0;
}
struct HowToLaunch { unsigned sizes[7]; cudaStream_t stream; };  // CUlaunchConfig, as far as it is read
EXPORT int cuLaunchKernelEx(const HowToLaunch* how, void* f, void**, void**) {
    nullgpu_launch((char*)f, how->stream);
    return 0;
}
// Triton's library wants these where it is loaded.
#define UNKNOWN(name) EXPORT int name() { return nullgpu_unknown(#name, cudaErrorNotSupported); }
UNKNOWN(cuCtxSetLimit) UNKNOWN(cuCtxGetLimit)

// cuBLAS: a handle knows its stream.
struct Handle { cudaStream_t stream; };
EXPORT int cublasCreate_v2(Handle** is) { *is = new Handle(); return 0; }
EXPORT int cublasSetStream_v2(Handle* is, cudaStream_t stream) { is->stream = stream; return 0; }
EXPORT int cublasSetWorkspace_v2(Handle*, void*, size_t) { return 0; }
EXPORT int cublasSetMathMode(Handle*, int) { return 0; }
EXPORT int cublasGetMathMode(Handle*, int* mode) { *mode = 0; return 0; }
#define PRODUCT(name) EXPORT int name(Handle* is, ...) { nullgpu_launch(#name, is->stream); return 0; }
PRODUCT(cublasGemmEx) PRODUCT(cublasGemmStridedBatchedEx) PRODUCT(cublasSgemm_v2) PRODUCT(cublasDgemm_v2)
PRODUCT(cublasSgemmStridedBatched) PRODUCT(cublasDgemmStridedBatched)
