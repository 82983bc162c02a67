$# The module around the kernels: tables of steps, sizes that depend on dimensions, and the exports of
$# docs/descriptor.md. THREADS is defined in the modules that share their memory.
typedef void Kernel(void* const*, const int*, int, int, char*);
typedef struct { Kernel* kernel; int buffers, params, items, grain; } Step;
#define EXPORT(name) __attribute__((export_name(#name))) name
$for symbol in symbols:
  Kernel ${symbol};

static Step steps[] = {
  $for s in steps:
    {${s}},
  {0, 0, 0, 0, 0}};  // so that it is never empty
static int params[] = {${params}};
static void* buffers[] = {${buffers}};  // offsets in the arena until `setup` has added its address
static int thread_count = 1, cancelled, placed;
static char* scratch_memory;
extern char __heap_base;

int EXPORT(arena)(void) { return ((int)&__heap_base + 255) & ~255; }
int EXPORT(scratch)(void) { return ${scratch}; }
int EXPORT(cancel)(void) { return (int)&cancelled; }
int EXPORT(step_count)(void) { return ${step_count}; }

// Integer arithmetic of the sizes, as Python does it; what divides by zero is 0.
static inline int floordiv(int a, int b) { return b == 0 ? 0 : a / b - (a % b != 0 && (a ^ b) < 0); }
static inline int mod(int a, int b) { return b == 0 ? 0 : a - floordiv(a, b) * b; }
static inline int smaller(int a, int b) { return a < b ? a : b; }
static inline int larger(int a, int b) { return a > b ? a : b; }

void EXPORT(setup)(${", ".join(["int threads", "int scratch_at", *(f"int d{k}" for k in range(dims))])}) {
  thread_count = threads;
  scratch_memory = (char*)scratch_at;
  if (!placed)
    for (int k = 0; k < ${buffer_count}; k++) buffers[k] = (char*)buffers[k] + arena();
  placed = 1;
  $for line in sizes:
    ${line}
}

#ifdef THREADS
static _Atomic int next_item, arrived, generation;

// All threads meet; the last one opens the next round. A round's number carries in bit 0 whether the page
// has asked to stop, so that all threads see the same answer. Waiting spins for some microseconds and then
// sleeps: with more threads than processors a spinning one would keep the others from working.
// Both functions stay functions: with their atomics inlined, the baseline compiler of V8 11.3 (Node 20) loses a
// variable of `run_range`, now and then, and the threads no longer agree on how often they meet.
static __attribute__((noinline)) int meet(void) {
  const int round = generation;
  if (__c11_atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST) == thread_count - 1) {
    const int stop = __atomic_exchange_n(&cancelled, 0, __ATOMIC_SEQ_CST) != 0;
    arrived = 0;
    next_item = 0;
    generation = ((round & ~1) + 2) | stop;
    if (thread_count > 1) __builtin_wasm_memory_atomic_notify((int*)&generation, -1);
    return stop;
  }
  for (int spins = 0; generation == round; spins++)
    if (spins > ${spins}) __builtin_wasm_memory_atomic_wait32((int*)&generation, round, -1);
  return generation & 1;
}
static __attribute__((noinline)) int take(int count) {
  return __c11_atomic_fetch_add(&next_item, count, __ATOMIC_RELAXED);
}
#endif

static int run_range(int thread, int first, int last) {
  char* const own = scratch_memory + thread * ${scratch};
#ifdef THREADS
  int alone = 0;  // whether thread 0 has run steps that the others have not waited for
  for (const Step* s = steps + first; s < steps + last; s++) {
    if (s->items <= s->grain) {  // too small to share
      if (thread == 0) s->kernel(buffers + s->buffers, params + s->params, 0, s->items, own);
      alone = 1;
      continue;
    }
    if (alone && meet()) return 1;
    alone = 0;
    for (;;) {
      const int begin = take(s->grain);
      if (begin >= s->items) break;
      const int end = begin + s->grain < s->items ? begin + s->grain : s->items;
      s->kernel(buffers + s->buffers, params + s->params, begin, end, own);
    }
    if (meet()) return 1;
  }
  return alone ? meet() : 0;
#else
  for (const Step* s = steps + first; s < steps + last; s++)
    if (s->items > 0) s->kernel(buffers + s->buffers, params + s->params, 0, s->items, own);
  return 0;
#endif
}

void EXPORT(prepare)(int thread) { run_range(thread, ${step_count}, ${step_count} + ${prepare_count}); }
int EXPORT(run)(int thread) { return run_range(thread, 0, ${step_count}); }
int EXPORT(run_steps)(int thread, int first, int last) { return run_range(thread, first, last); }
