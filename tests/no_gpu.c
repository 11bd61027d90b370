/* A CUDA driver and runtime that claim to have one GPU and do nothing.
 *
 * With them, and the properties of a GPU that is not there, cuDNN makes its plans on any machine:
 * it looks for a driver, but needs none to choose kernels and to compile them.
 */
#include <string.h>

#define ANSWERS(name, value) int name(int *answer) { *answer = value; return 0; }
#define HANDS_OUT(name) int name(void **handle) { *handle = (void *)64; return 0; }
#define SUCCEEDS(name) int name(void) { return 0; }
#define FAILS(name) int name(void) { return 100; }

ANSWERS(cuDriverGetVersion, 13000)
ANSWERS(cuDeviceGetCount, 1)
ANSWERS(cuDeviceGet, 0)
ANSWERS(cuCtxGetDevice, 0)
ANSWERS(cuFuncGetAttribute, 1)
ANSWERS(cuKernelGetAttribute, 1)
ANSWERS(cuOccupancyMaxActiveBlocksPerMultiprocessor, 1)
ANSWERS(cuOccupancyMaxPotentialClusterSize, 1)
HANDS_OUT(cuModuleLoadData)
HANDS_OUT(cuModuleLoadDataEx)
HANDS_OUT(cuModuleLoadFatBinary)
HANDS_OUT(cuModuleGetFunction)
HANDS_OUT(cuLibraryLoadData)
HANDS_OUT(cuLibraryGetKernel)
HANDS_OUT(cuKernelGetFunction)
SUCCEEDS(cuInit)
SUCCEEDS(cuFuncSetAttribute)
SUCCEEDS(cuKernelSetAttribute)
SUCCEEDS(cuModuleUnload)
SUCCEEDS(cuLibraryUnload)
FAILS(cuCtxGetCurrent)
FAILS(cuCtxGetLimit)
FAILS(cuCtxPopCurrent)
FAILS(cuCtxPushCurrent)
FAILS(cuDeviceGetAttribute)
FAILS(cuDevicePrimaryCtxRelease)
FAILS(cuDevicePrimaryCtxReset)
FAILS(cuDevicePrimaryCtxRetain)
FAILS(cuGetErrorName)
FAILS(cuGetErrorString)
FAILS(cuGetExportTable)
FAILS(cuLaunchCooperativeKernel)
FAILS(cuLaunchKernel)
FAILS(cuLaunchKernelEx)
FAILS(cuLibraryLoadFromFile)
FAILS(cuLinkAddData)
FAILS(cuLinkAddData_v2)
FAILS(cuLinkAddFile_v2)
FAILS(cuLinkComplete)
FAILS(cuLinkCreate)
FAILS(cuLinkCreate_v2)
FAILS(cuLinkDestroy)
FAILS(cuMemcpyDtoH_v2)
FAILS(cuModuleGetGlobal_v2)
FAILS(cuStreamGetCtx)
FAILS(cuStreamGetGreenCtx)
FAILS(cuStreamSynchronize)
FAILS(cuTensorMapEncodeIm2col)
FAILS(cuTensorMapEncodeTiled)

ANSWERS(cudaGetDevice, 0)
ANSWERS(cudaGetDeviceCount, 1)
ANSWERS(cudaDriverGetVersion, 13000)
ANSWERS(cudaRuntimeGetVersion, 12000)
const char *cudaGetErrorString(int error) { return error ? "no GPU" : "no error"; }

/* The compute capability's major number lies at byte 360 of cudaDeviceProp in CUDA 12 and 13. */
int cudaGetDeviceProperties(char *properties, int device) {
  memset(properties, 0, 512);
  properties[360] = 9;
  return device;
}
