/* The part of NVML that is used, for a GPU that draws FAKE_WATTS and has FAKE_REASONS; its header's signatures. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned long long number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, 0, 0) : 0;
}

int nvmlInitWithFlags(unsigned int flags) { return flags; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)0x7f0011223344;
    return index == number("FAKE_INDEX") ? 0 : 2;
}
int nvmlDeviceGetTemperature(void *device, unsigned int sensor, unsigned int *celsius) {
    *celsius = 61;
    return device == (void *)0x7f0011223344 && sensor == 0 ? 0 : 2;
}
int nvmlDeviceGetClockInfo(void *device, unsigned int kind, unsigned int *mhz) {
    *mhz = kind == 1 ? 1410 : 5001;
    return kind == 1 || kind == 2 ? 0 : 2;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    *milliwatts = 1000 * number("FAKE_WATTS");
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = number("FAKE_WATTS") * (1000ull * now.tv_sec + now.tv_nsec / 1000000);
    return getenv("FAKE_NO_COUNTER") ? 3 : 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits) {
    *bits = number("FAKE_REASONS");
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *info) { /* total, free, used: 64 MiB more at every look */
    static unsigned long long looks = 0;
    info[0] = 8ull << 30;
    info[2] = (looks++) << 26;
    info[1] = info[0] - info[2];
    return getenv("FAKE_NO_MEMORY") ? 3 : 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *infos) {
    unsigned int room = *count;
    *count = number("FAKE_PROCESSES");
    if (*count > room || (*count && !infos)) return 7;
    for (unsigned int place = 0; place < *count; place++) memset((char *)infos + 24 * place, 0, 24);
    return 0;
}
