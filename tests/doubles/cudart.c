/* The part of CUDA's runtime API that is used, on host memory, and as strict about it as CUDA is: its header's
   signatures. CUDA_DOUBLE_DEVICE, _CAPABILITY (87 is 8.7), _VERSION (12060) and _CAPTURE (0: captures fail) say what
   it pretends. Functions named double_* are for tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, ACTIVE = 36, INVALIDATED = 901, SLOTS = 4096 };
typedef void (*Work)(void);
typedef struct { Work work; void *to, *from; size_t count; } Node;
typedef struct { char *start; size_t size; } Block;
typedef struct { int used, capturing, count; Node nodes[64]; } List; /* a stream and what it captured, or a graph */

static Block blocks[SLOTS];
static List streams[64], graphs[64];
static double events[64];
static int live_events, flags_set, calls_used;
static char calls[1 << 16];

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? strtol(text, 0, 10) : otherwise;
}
static void note(const char *call) {
    if (calls_used + 64 < (int)sizeof calls) calls_used += sprintf(calls + calls_used, "%s ", call);
}
static List *take(List *lists) {
    for (int place = 0; place < 64; place++)
        if (!lists[place].used) { memset(&lists[place], 0, sizeof(List)); lists[place].used = 1; return &lists[place]; }
    abort();
}
static Block *block_of(const void *pointer) {
    for (int place = 0; place < SLOTS; place++)
        if (blocks[place].start && blocks[place].start == pointer) return &blocks[place];
    return 0;
}
static void run(const Node *node) {
    if (node->work) node->work(); else memmove(node->to, node->from, node->count);
}
static int enqueue(List *stream, Node node) {
    if (!stream->capturing) run(&node);
    else if (!number("CUDA_DOUBLE_CAPTURE", 1)) return 0;
    else stream->nodes[stream->count++] = node;
    return 1;
}

int double_enqueue(List *stream, Work work) { Node node = {work, 0, 0, 0}; return enqueue(stream, node); }
int double_knows(const void *pointer) { return block_of(pointer) != 0; }
const char *double_calls(void) { return calls; }
void double_reset(void) {
    calls_used = flags_set = live_events = calls[0] = 0;
    memset(blocks, 0, sizeof blocks);
    memset(streams, 0, sizeof streams);
    memset(graphs, 0, sizeof graphs);
    memset(events, 0, sizeof events);
}
void double_forget_calls(void) { calls_used = calls[0] = 0; }
int double_live(int kind) { /* 0 memory, 1 streams, 2 graphs, 3 events */
    int count = kind == 3 ? live_events : 0;
    for (int place = 0; kind == 0 && place < SLOTS; place++) count += blocks[place].start != 0;
    for (int place = 0; kind > 0 && kind < 3 && place < 64; place++) count += (kind == 1 ? streams : graphs)[place].used;
    return count;
}

const char *cudaGetErrorName(int code) {
    return code == INVALID_VALUE ? "cudaErrorInvalidValue" : code == ACTIVE ? "cudaErrorSetOnActiveProcess"
         : code == INVALIDATED ? "cudaErrorStreamCaptureInvalidated" : "cudaErrorUnknown";
}
int cudaSetDeviceFlags(unsigned flags) {
    return flags_set++ && number("CUDA_DOUBLE_VERSION", 12060) < 12000 ? ACTIVE : SUCCESS;
}
int cudaRuntimeGetVersion(int *version) { *version = number("CUDA_DOUBLE_VERSION", 12060); return SUCCESS; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    long capability = number("CUDA_DOUBLE_CAPABILITY", 87);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
    return device ? INVALID_VALUE : SUCCESS;
}
int cudaGetDeviceProperties(void *properties, int device) {
    const char *name = getenv("CUDA_DOUBLE_DEVICE");
    strcpy(properties, name ? name : "Orin");
    return device ? INVALID_VALUE : SUCCESS;
}
int cudaMemGetInfo(size_t *free_bytes, size_t *all) { *free_bytes = 2ul << 30; *all = 8ul << 30; return SUCCESS; }
int cudaMalloc(void **pointer, size_t size) {
    for (int place = 0; place < SLOTS; place++)
        if (!blocks[place].start) {
            blocks[place].start = *pointer = malloc(size);
            blocks[place].size = size;
            return SUCCESS;
        }
    return 2;
}
int cudaHostAlloc(void **pointer, size_t size, unsigned flags) { return cudaMalloc(pointer, size); }
int cudaFree(void *pointer) {
    Block *block = block_of(pointer);
    if (!block) return INVALID_VALUE;
    free(block->start);
    block->start = 0;
    return SUCCESS;
}
int cudaFreeHost(void *pointer) { return cudaFree(pointer); }
int cudaMemcpyAsync(void *to, void *from, size_t count, int kind, List *stream) {
    Block *target = block_of(to), *source = block_of(from);
    note(kind == 1 ? "cudaMemcpyHostToDevice" : "cudaMemcpyDeviceToHost");
    if (!target || !source || count > target->size || count > source->size) return INVALID_VALUE;
    Node node = {0, to, from, count};
    enqueue(stream, node);
    return SUCCESS;
}
int cudaStreamCreateWithFlags(List **stream, unsigned flags) { *stream = take(streams); return SUCCESS; }
int cudaStreamDestroy(List *stream) { stream->used = 0; return SUCCESS; }
int cudaStreamSynchronize(List *stream) { return stream->capturing ? INVALID_VALUE : SUCCESS; }
int cudaStreamBeginCapture(List *stream, int mode) { stream->capturing = 1; stream->count = 0; return SUCCESS; }
int cudaStreamEndCapture(List *stream, List **graph) {
    stream->capturing = 0;
    if (!number("CUDA_DOUBLE_CAPTURE", 1)) { *graph = 0; return INVALIDATED; }
    *graph = take(graphs);
    memcpy((*graph)->nodes, stream->nodes, sizeof stream->nodes);
    (*graph)->count = stream->count;
    return SUCCESS;
}
int cudaGraphInstantiateWithFlags(List **made, List *graph, unsigned long long flags) {
    *made = take(graphs);
    **made = *graph;
    return SUCCESS;
}
int cudaGraphLaunch(List *graph, List *stream) {
    note("cudaGraphLaunch");
    for (int place = 0; place < graph->count; place++) enqueue(stream, graph->nodes[place]);
    return SUCCESS;
}
int cudaGraphDestroy(List *graph) { graph->used = 0; return SUCCESS; }
int cudaGraphExecDestroy(List *graph) { return cudaGraphDestroy(graph); }
int cudaEventCreateWithFlags(double **event, unsigned flags) {
    for (int place = 0; place < 64; place++)
        if (events[place] == 0) { events[place] = -1; *event = &events[place]; live_events++; return SUCCESS; }
    return 2;
}
int cudaEventDestroy(double *event) { *event = 0; live_events--; return SUCCESS; }
int cudaEventRecord(double *event, List *stream) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *event = now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
    return SUCCESS;
}
int cudaEventElapsedTime(float *ms, double *start, double *stop) { *ms = *stop - *start; return SUCCESS; }
int cudaGetLastError(void) { return SUCCESS; }
