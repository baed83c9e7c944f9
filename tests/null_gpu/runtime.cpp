// A GPU that computes nothing: CUDA's runtime. The driver and cuBLAS stand in driver_and_blas.cpp.
//
//   loaded first (LD_PRELOAD), it stands where libcudart, libcublas and libcuda would: torch believes in an
//   80 GB H100. Host code, torch's allocator, the rules of graph capture and compiling are the real ones.
//
// - Memory is addresses nobody may touch: host code that reads a GPU's tensor dies as it should. What is copied
//   back is zeros, whatever was copied there.
// - Kernels are counted, by their stream; so are waits of the host and copies. See nullgpu_count.
// - What must not be called while a stream is captured is refused, by CUDA's rules for threads and modes.
// - What is not here is named on stderr and fails: build.py makes `unknown` of the other names torch links to.
//
// NULLGPU_TRACE=NAME writes Python's stack at each launch of a kernel with NAME in its name, or at each wait
// for NAME=wait.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#define EXPORT extern "C" __attribute__((visibility("default")))
typedef cudaError_t E;
static const E OK = cudaSuccess;

// Never destroyed: torch gives memory back while a process ends.
static std::mutex& mu() { static auto* made = new std::mutex; return *made; }
static std::atomic<long> launches, replays, waits, pageable, to_device, to_host, complaints, beside, held, peak;
static thread_local E last = OK;

static void trace(const char* what) {
    static const char* wanted = getenv("NULLGPU_TRACE");
    if (!wanted || !strstr(what, wanted)) return;
    fprintf(stderr, "[null gpu] %.160s\n", what);
    auto thread = (void* (*)())dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    auto dump = (void (*)(int, void*))dlsym(RTLD_DEFAULT, "_Py_DumpTraceback");
    if (void* state = thread && dump ? thread() : nullptr) dump(2, state);
}
static E fail(E error, const char* what, const char* why) {
    complaints++;
    fprintf(stderr, "[null gpu] %s: %s\n", what, why);
    return last = error;
}
EXPORT int nullgpu_unknown(const char* name, int error) {
    return fail((E)error, name, "not here; see tests/null_gpu/runtime.cpp");
}

// Captures. Which calls are refused: cudaThreadExchangeStreamCaptureMode in CUDA's reference.
struct Capture { cudaStreamCaptureMode mode; std::thread::id by; bool broken; long kernels; };
static std::map<cudaStream_t, Capture> captures;
static std::atomic<int> capturing;
static std::atomic<long> recorded;
static thread_local cudaStreamCaptureMode own_mode = cudaStreamCaptureModeGlobal;

static bool refused(const char* what) {
    if (!capturing || own_mode == cudaStreamCaptureModeRelaxed) return false;
    std::lock_guard<std::mutex> guard(mu());
    for (auto& [stream, capture] : captures) {
        bool own = capture.by == std::this_thread::get_id() && capture.mode != cudaStreamCaptureModeRelaxed;
        bool all = capture.mode == cudaStreamCaptureModeGlobal && own_mode == cudaStreamCaptureModeGlobal;
        if (!own && !all) continue;
        capture.broken = true;
        fail(cudaErrorStreamCaptureUnsupported, what, "while a stream is captured");
        return true;
    }
    return false;
}
static E wait(const char* what) {
    waits++;
    trace("wait");
    return refused(what) ? last : OK;
}
extern "C" void nullgpu_launch(const char* name, cudaStream_t stream) {
    launches++;
    trace(name);
    if (!capturing) return;
    std::lock_guard<std::mutex> guard(mu());
    auto found = captures.find(stream);
    if (found != captures.end()) {
        found->second.kernels++;
        return;
    }
    for (auto& each : captures) beside += each.second.by == std::this_thread::get_id();
}

// Read with ctypes.CDLL(None).
EXPORT long nullgpu_count(const char* what) {
    const std::pair<const char*, std::atomic<long>*> all[] = {
        {"launches", &launches},     // kernels, memsets and products, recorded ones too
        {"replays", &replays},       // of graphs
        {"recorded", &recorded},     // kernels of the graph captured last
        {"beside", &beside},         // launches of a capturing thread that its graph misses
        {"waits", &waits},           // of the host for the GPU
        {"pageable", &pageable},     // copies that are not asynchronous, whatever was asked
        {"to_device", &to_device}, {"to_host", &to_host},
        {"complaints", &complaints}, // what failed by its name on stderr
        {"held", &held}, {"peak", &peak}};  // bytes of cudaMalloc
    for (auto& [name, count] : all) if (!strcmp(what, name)) return *count;
    return -1;
}

// Kernels
struct Config { dim3 grid, block; size_t shared; cudaStream_t stream; };
static thread_local Config config;
static std::unordered_map<const void*, std::string>& names() {
    static auto* made = new std::unordered_map<const void*, std::string>;
    return *made;
}
static const char* name_of(const void* kernel) {
    std::lock_guard<std::mutex> guard(mu());
    auto found = names().find(kernel);
    return found == names().end() ? "?" : found->second.c_str();
}
EXPORT void** __cudaRegisterFatBinary(void*) { static void* handle; return &handle; }
EXPORT void __cudaRegisterFatBinaryEnd(void**) {}
EXPORT void __cudaUnregisterFatBinary(void**) {}
EXPORT char __cudaInitModule(void**) { return 0; }
EXPORT void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
EXPORT void __cudaRegisterFunction(
    void**, const char* host, char*, const char* name, int, void*, void*, void*, void*, int*) {
    std::lock_guard<std::mutex> guard(mu());
    names()[host] = name;
}
EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    config = {grid, block, shared, stream};
    return 0;
}
EXPORT E __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, cudaStream_t* stream) {
    *grid = config.grid, *block = config.block, *shared = config.shared, *stream = config.stream;
    return OK;
}
EXPORT E __cudaGetKernel(cudaKernel_t* kernel, const void* host) { *kernel = (cudaKernel_t)host; return OK; }
EXPORT E __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
    nullgpu_launch(name_of(kernel), stream);
    return OK;
}
EXPORT E cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
    nullgpu_launch(name_of(kernel), stream);
    return OK;
}
EXPORT E cudaLaunchCooperativeKernel(const void* kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
    nullgpu_launch(name_of(kernel), stream);
    return OK;
}
EXPORT E cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void* kernel, void**) {
    nullgpu_launch(name_of(kernel), how->stream);
    return OK;
}
EXPORT E cudaFuncGetAttributes(cudaFuncAttributes* is, const void*) {
    memset(is, 0, sizeof *is);
    is->maxThreadsPerBlock = 1024, is->numRegs = 32, is->binaryVersion = is->ptxVersion = 90;
    is->maxDynamicSharedSizeBytes = 232448;
    return OK;
}
EXPORT E cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return OK; }
EXPORT E cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n, const void*, int, size_t) { *n = 2; return OK; }
EXPORT E cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, const void*, int, size_t, unsigned) {
    *n = 2;
    return OK;
}

// The device
static const long TOTAL = 85024899072;  // what an H100 80GB HBM3 says it has: 79.2 GiB
static const long CONTEXT = 600 << 20;  // about what CUDA itself takes of it
EXPORT E cudaGetDeviceCount(int* n) { *n = 1; return OK; }
EXPORT E cudaGetDevice(int* n) { *n = 0; return OK; }
EXPORT E cudaSetDevice(int n) { return n ? fail(cudaErrorInvalidDevice, "cudaSetDevice", "one GPU") : OK; }
EXPORT E cudaDeviceGetStreamPriorityRange(int* least, int* most) {
    if (least) *least = 0;
    if (most) *most = -5;
    return OK;
}
EXPORT E cudaDriverGetVersion(int* v) { *v = 13000; return OK; }
EXPORT E cudaRuntimeGetVersion(int* v) { *v = 13000; return OK; }
EXPORT E cudaGetDeviceProperties(cudaDeviceProp* is, int) {
    memset(is, 0, sizeof *is);
    strcpy(is->name, "NVIDIA H100 80GB HBM3");
    is->totalGlobalMem = TOTAL, is->major = 9, is->minor = 0, is->multiProcessorCount = 132, is->warpSize = 32;
    is->maxThreadsPerBlock = is->maxThreadsDim[0] = is->maxThreadsDim[1] = 1024, is->maxThreadsDim[2] = 64;
    is->maxGridSize[0] = 2147483647, is->maxGridSize[1] = is->maxGridSize[2] = 65535;
    is->maxThreadsPerMultiProcessor = 2048, is->maxBlocksPerMultiProcessor = 32, is->l2CacheSize = 52428800;
    is->sharedMemPerBlock = 49152, is->sharedMemPerBlockOptin = 232448, is->sharedMemPerMultiprocessor = 233472;
    is->regsPerBlock = is->regsPerMultiprocessor = is->totalConstMem = 65536, is->textureAlignment = 512;
    is->unifiedAddressing = is->canMapHostMemory = is->concurrentKernels = is->cooperativeLaunch = 1;
    return OK;
}
EXPORT E cudaDeviceGetAttribute(int* value, cudaDeviceAttr asked, int) {
    static const std::map<int, int> known = {
        {cudaDevAttrComputeCapabilityMajor, 9}, {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMultiProcessorCount, 132}, {cudaDevAttrWarpSize, 32},
        {cudaDevAttrMaxSharedMemoryPerBlock, 49152}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, 232448},
        {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472}, {cudaDevAttrMaxRegistersPerBlock, 65536},
        {cudaDevAttrMaxRegistersPerMultiprocessor, 65536}, {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
        {cudaDevAttrMaxThreadsPerBlock, 1024}, {cudaDevAttrMaxGridDimX, 2147483647},
        {cudaDevAttrMaxGridDimY, 65535}, {cudaDevAttrMaxGridDimZ, 65535},
        {cudaDevAttrMaxBlocksPerMultiprocessor, 32}, {cudaDevAttrL2CacheSize, 52428800},
        {cudaDevAttrClockRate, 1980000}, {cudaDevAttrMemoryClockRate, 2619000},
        {cudaDevAttrGlobalMemoryBusWidth, 5120}, {cudaDevAttrCooperativeLaunch, 1},
        {cudaDevAttrMemoryPoolsSupported, 1}, {cudaDevAttrIntegrated, 0}};
    auto found = known.find(asked);
    if (found == known.end()) {
        std::string name = "cudaDeviceGetAttribute " + std::to_string(asked);
        return fail(cudaErrorInvalidValue, name.c_str(), "not here");
    }
    *value = found->second;
    return OK;
}

// Memory
typedef std::map<const char*, size_t> Blocks;
static Blocks& on_gpu() { static auto* made = new Blocks; return *made; }
static Blocks& pinned() { static auto* made = new Blocks; return *made; }
static bool within(Blocks& blocks, const void* at) {
    std::lock_guard<std::mutex> guard(mu());
    auto next = blocks.upper_bound((const char*)at);
    if (next == blocks.begin()) return false;
    --next;
    return (const char*)at < next->first + next->second;
}
static void* take(Blocks& blocks, size_t bytes, int allowed) {
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* at = mmap(nullptr, bytes, allowed, how, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    blocks[(const char*)at] = bytes;
    return at;
}
static size_t give(Blocks& blocks, void* at) {
    auto found = blocks.find((const char*)at);
    if (found == blocks.end()) return 0;
    size_t bytes = found->second;
    munmap(at, bytes);
    blocks.erase(found);
    return bytes;
}
EXPORT E cudaMemGetInfo(size_t* free, size_t* total) {
    *total = TOTAL, *free = TOTAL - CONTEXT - held;
    return OK;
}
EXPORT E cudaMalloc(void** at, size_t bytes) {
    if (refused("cudaMalloc")) return last;
    std::lock_guard<std::mutex> guard(mu());
    size_t whole = (bytes + (2 << 20) - 1) >> 21 << 21;  // it comes in pages of 2 MiB
    bool fits = held + (long)whole <= TOTAL - CONTEXT;
    *at = fits ? take(on_gpu(), whole, PROT_NONE) : nullptr;
    if (!*at) return last = cudaErrorMemoryAllocation;
    held += whole;
    if (held > peak) peak = held.load();
    return OK;
}
EXPORT E cudaFree(void* at) {
    if (!at) return OK;
    if (refused("cudaFree")) return last;
    std::lock_guard<std::mutex> guard(mu());
    size_t bytes = give(on_gpu(), at);
    held -= bytes;
    return bytes ? OK : fail(cudaErrorInvalidValue, "cudaFree", "never allocated");
}
EXPORT E cudaHostAlloc(void** at, size_t bytes, unsigned) {
    if (refused("cudaHostAlloc")) return last;
    std::lock_guard<std::mutex> guard(mu());
    *at = take(pinned(), bytes, PROT_READ | PROT_WRITE);
    return *at ? OK : last = cudaErrorMemoryAllocation;
}
EXPORT E cudaFreeHost(void* at) {
    std::lock_guard<std::mutex> guard(mu());
    return give(pinned(), at) ? OK : fail(cudaErrorInvalidValue, "cudaFreeHost", "never allocated");
}
EXPORT E cudaPointerGetAttributes(cudaPointerAttributes* is, const void* at) {
    memset(is, 0, sizeof *is);
    bool gpu = within(on_gpu(), at), host = within(pinned(), at);
    is->type = gpu ? cudaMemoryTypeDevice : host ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    is->devicePointer = gpu || host ? (void*)at : nullptr, is->hostPointer = host ? (void*)at : nullptr;
    return OK;
}
EXPORT E cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    bool to_gpu = within(on_gpu(), to), from_gpu = within(on_gpu(), from);
    if (to_gpu && from_gpu) { nullgpu_launch("copy", stream); return OK; }
    if (to_gpu) to_device++;
    if (from_gpu) to_host++;
    if (!within(pinned(), to_gpu ? from : to)) {
        pageable++;
        trace("pageable");
        if (refused("cudaMemcpyAsync of pageable memory")) return last;
    }
    if (from_gpu) memset(to, 0, bytes);
    else if (!to_gpu) memcpy(to, from, bytes);
    return OK;
}
EXPORT E cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return wait("cudaMemcpy") ? last : cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
EXPORT E cudaMemsetAsync(void*, int, size_t, cudaStream_t stream) { nullgpu_launch("memset", stream); return OK; }
EXPORT E cudaGetSymbolAddress(void** at, const void*) { static char nothing[64]; *at = nothing; return OK; }

// Streams, events, graphs: names for one another, nothing is ever under way.
extern "C" void* nullgpu_fresh() { static std::atomic<long> n; return (void*)(0x10000 + 16 * ++n); }
EXPORT E cudaStreamCreateWithPriority(cudaStream_t* s, unsigned, int) {
    *s = (cudaStream_t)nullgpu_fresh();
    return OK;
}
EXPORT E cudaStreamGetPriority(cudaStream_t, int* p) { *p = 0; return OK; }
EXPORT E cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return OK; }
EXPORT E cudaStreamQuery(cudaStream_t) { return refused("cudaStreamQuery") ? last : OK; }
EXPORT E cudaStreamSynchronize(cudaStream_t) { return wait("cudaStreamSynchronize"); }
EXPORT E cudaDeviceSynchronize() { return wait("cudaDeviceSynchronize"); }
EXPORT E cudaEventSynchronize(cudaEvent_t) { return wait("cudaEventSynchronize"); }
EXPORT E cudaEventQuery(cudaEvent_t) { return refused("cudaEventQuery") ? last : OK; }
EXPORT E cudaEventCreate(cudaEvent_t* e) { *e = (cudaEvent_t)nullgpu_fresh(); return OK; }
EXPORT E cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return cudaEventCreate(e); }
EXPORT E cudaEventDestroy(cudaEvent_t) { return OK; }
EXPORT E cudaEventRecord(cudaEvent_t, cudaStream_t) { return OK; }
EXPORT E cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) { return OK; }
EXPORT E cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) { *ms = 1; return OK; }
EXPORT E cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) { std::swap(*mode, own_mode); return OK; }
EXPORT E cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    std::lock_guard<std::mutex> guard(mu());
    captures[stream] = {mode, std::this_thread::get_id(), false, 0};
    capturing = captures.size();
    return OK;
}
EXPORT E cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    std::lock_guard<std::mutex> guard(mu());
    bool broken = captures[stream].broken;
    recorded = captures[stream].kernels;
    captures.erase(stream);
    capturing = captures.size();
    *graph = broken ? nullptr : (cudaGraph_t)nullgpu_fresh();
    return broken ? last = cudaErrorStreamCaptureInvalidated : OK;
}
EXPORT E cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* is) {
    std::lock_guard<std::mutex> guard(mu());
    *is = captures.count(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return OK;
}
EXPORT E cudaStreamGetCaptureInfo(
    cudaStream_t stream, cudaStreamCaptureStatus* is, unsigned long long* id, cudaGraph_t* graph,
    const cudaGraphNode_t** from, const cudaGraphEdgeData** edges, size_t* n) {
    if (id) *id = (unsigned long long)stream;
    if (graph) *graph = nullptr;
    if (from) *from = nullptr;
    if (edges) *edges = nullptr;
    if (n) *n = 0;
    return cudaStreamIsCapturing(stream, is);
}
EXPORT E cudaGraphInstantiateWithFlags(cudaGraphExec_t* e, cudaGraph_t, unsigned long long) {
    *e = (cudaGraphExec_t)nullgpu_fresh();
    return OK;
}
EXPORT E cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t*, size_t* n) { *n = recorded; return OK; }
EXPORT E cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { replays++; return OK; }
EXPORT E cudaGraphDestroy(cudaGraph_t) { return OK; }
EXPORT E cudaGraphExecDestroy(cudaGraphExec_t) { return OK; }

// Errors
EXPORT const char* cudaGetErrorName(E error) {
    return error == cudaErrorStreamCaptureUnsupported ? "cudaErrorStreamCaptureUnsupported"
        : error == cudaErrorStreamCaptureInvalidated ? "cudaErrorStreamCaptureInvalidated"
        : error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "an error of the null GPU";
}
EXPORT const char* cudaGetErrorString(E error) { return cudaGetErrorName(error); }
EXPORT E cudaGetLastError() { return std::exchange(last, OK); }
EXPORT E cudaPeekAtLastError() { return last; }
