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
static int thread_count = 1, placed;
static volatile int cancelled;  // the page writes it
static int at_work;  // the step that runs, or ran last
static char* scratch_memory;
extern char __heap_base;

int EXPORT(arena)(void) { return ((int)&__heap_base + 255) & ~255; }
int EXPORT(scratch)(void) { return ${scratch}; }
int EXPORT(cancel)(void) { return (int)&cancelled; }
int EXPORT(step_count)(void) { return ${step_count}; }
int EXPORT(step)(void) { return at_work; }

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

// The step that follows when those before `step` have run: loops whose end only a run finds.
static inline int following(int step) {
  $for first, last, flag in jumps:
    if (step == ${first} && !${flag}) return ${last};
    if (step == ${last} && ${flag}) return ${first};
  return step;
}

#ifdef THREADS
// How threads share a run. A step is over when its items are done, whoever did them; nobody waits for a
// thread that has taken none, which may not even be on a processor. `ticket` says what there is to take: a
// number of its own for each time that a step is opened (high half), and the first item that nobody has
// taken (low half), TAKEN when there is none, OVER between runs. Whoever finishes a step's last item opens the next;
// steps too small to share it runs itself.
//
// The threads make the same calls in the same order, but one may be late by whole runs: it then helps with
// the run in progress, and its own call returns. So what a thread has read of a step holds only once it has replaced the
// very `ticket` that it read before: by then the step is not over, and no setup has changed its sizes.
enum { TAKEN = -1, OVER = -2 };
static _Atomic long long ticket = OVER & 0xffffffffLL;
static _Atomic int open_step, last_step, done, started, ended, stopped, sleeping;
static int calls[64];  // of each thread; the runner makes no more

int EXPORT(late)(void) { return 1; }

static inline int mark(long long t) { return (int)(t >> 32); }

// Functions stay functions: with their atomics inlined, the baseline compiler of V8 11.3 (Node 20) loses a
// variable of `run_range`, now and then.
static __attribute__((noinline)) void publish(int next) {
  ticket = ((long long)(mark(ticket) + 1) << 32) | (unsigned)next;
  if (sleeping) __builtin_wasm_memory_atomic_notify((int*)&ticket + 1, -1);
}

// Waits for the next ticket: it spins for some microseconds and then sleeps, because with more threads
// than processors a spinning one would keep the others from working.
static __attribute__((noinline)) void wait(long long t) {
  for (int spins = 0; mark(ticket) == mark(t); spins++)
    if (spins > ${spins}) {
      sleeping++;
      __builtin_wasm_memory_atomic_wait32((int*)&ticket + 1, mark(t), -1);
      sleeping--;
    }
}

// Items at a time: `grain`, or less where the threads would not all get some.
static inline int chunk(const Step* s) {
  const int fair = (s->items + 2 * thread_count - 1) / (2 * thread_count);
  return smaller(s->grain, larger(fair, (s->grain + 3) / 4));
}

static __attribute__((noinline)) void advance(int step, char* own) {
  for (step = following(step); step < last_step && !cancelled; step = following(step + 1)) {
    const Step* s = steps + step;
    at_work = step;  // until it is over, no thread begins another
    if (s->items > s->grain) {
      open_step = step;
      done = 0;
      publish(0);
      return;
    }
    s->kernel(buffers + s->buffers, params + s->params, 0, s->items, own);
  }
  stopped = __atomic_exchange_n(&cancelled, 0, __ATOMIC_SEQ_CST) != 0;
  ended = started;
  publish(OVER);
}

// Takes items of the open step and returns it, with the items in `range`; 0 when call `call` is over.
static __attribute__((noinline)) const Step* take(int call, int* range) {
  for (;;) {
    long long t = ticket;
    const int next = (int)t;
    if (next >= 0) {
      const Step* s = steps + open_step;
      const int items = s->items, end = smaller(items - next, chunk(s)) + next;
      const long long left = (t & ~0xffffffffLL) | (unsigned)(end < items ? end : TAKEN);
      if (!__c11_atomic_compare_exchange_strong(&ticket, &t, left, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) continue;
      range[0] = next;
      range[1] = end;
      return s;
    }
    if (next == OVER && ended - call >= 0) return 0;
    wait(t);
  }
}

// Counts items of a step as done; the last ones open the next step.
static __attribute__((noinline)) void finish(const Step* s, int items, char* own) {
  const int all = s->items;  // another size may be set as soon as these are counted
  if (__c11_atomic_fetch_add(&done, items, __ATOMIC_SEQ_CST) + items == all) advance((int)(s - steps) + 1, own);
}
#endif

static int run_range(int thread, int first, int last) {
  char* const own = scratch_memory + thread * ${scratch};
#ifdef THREADS
  const int call = ++calls[thread];
  int before = call - 1, range[2];
  if (__c11_atomic_compare_exchange_strong(&started, &before, call, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    // OVER no longer: else, where no step is shared, others would see the end of this call before it is
    // published, begin the next, and have what they open taken for over. Nobody needs to wake for it.
    ticket = (ticket & ~0xffffffffLL) | (unsigned)TAKEN;
    last_step = last;
    advance(first, own);
  }
  for (const Step* s; (s = take(call, range));) {
    s->kernel(buffers + s->buffers, params + s->params, range[0], range[1], own);
    finish(s, range[1] - range[0], own);
  }
  return stopped;
#else
  for (int k = following(first); k < last; k = following(k + 1)) {
    const Step* s = steps + k;
    if (s->items > 0) {
      at_work = k;
      s->kernel(buffers + s->buffers, params + s->params, 0, s->items, own);
    }
  }
  return 0;
#endif
}

void EXPORT(prepare)(int thread) { run_range(thread, ${step_count}, ${step_count} + ${prepare_count}); }
int EXPORT(run)(int thread) { return run_range(thread, 0, ${step_count}); }

// Of a loop a part is nothing that runs alone: the whole runs with its first step.
int EXPORT(run_steps)(int thread, int first, int last) {
  $for begin, end in whole:
    if (first > ${begin} && first < ${end}) first = ${end};
    if (last > ${begin} && last < ${end}) last = ${end};
  return first < last ? run_range(thread, first, last) : 0;
}
