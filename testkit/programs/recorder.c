/* Records which allocations a program holds when it dies.
 *
 * Preloaded, it stands in front of malloc; linked with -DRECORDER_WRAP and -Wl,--wrap=..., it does so in static
 * programs; built with -DRECORDER_NEXT and preloaded, in front of an allocator that is not libc's. The record is kept in a mapping that is left out of core dumps, and each address in it is masked: nothing
 * in the dump points at an allocation because of the recorder. On a deadly signal the mapping is written as it is to
 * the file that TOPLEAKED_RECORD names; the reader takes the mask off. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder.h"

#define MASK UINT64_C(0xa5c35a3cc3a53c5a)
#define CAPACITY (UINT32_C(1) << 20)
#define EMPTY UINT64_C(0)
#define REMOVED UINT64_C(1)

struct entry {
    uint64_t masked;
    uint64_t requested;
    uint64_t usable;
    uint64_t label;
};

struct record {
    uint64_t magic;
    uint64_t lost;
    uint64_t reserved[2];
    struct entry entries[CAPACITY];
};

static struct record *record;
static volatile int lock;
static volatile unsigned scope;
static char path[512];

#ifdef RECORDER_WRAP
#define REAL(name) __real_##name
#define FAKE(name) __wrap_##name
void *__real_malloc(size_t);
void __real_free(void *);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_memalign(size_t, size_t);
void *__real_aligned_alloc(size_t, size_t);
/* musl builds the other two on this one; wrapping them all, only this one may be called. */
#define real_memalign __real_aligned_alloc
#elif defined(RECORDER_NEXT)
#include <dlfcn.h>
#define REAL(name) next_##name
#define FAKE(name) name
#define NEXT(result, name, parameters, arguments) \
    static result next_##name parameters { \
        static result(*real) parameters; \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name); \
        return real arguments; \
    }
NEXT(void *, malloc, (size_t size), (size))
NEXT(void, free, (void *memory), (memory))
NEXT(void *, calloc, (size_t count, size_t size), (count, size))
NEXT(void *, realloc, (void *old, size_t size), (old, size))
NEXT(void *, memalign, (size_t alignment, size_t size), (alignment, size))
#define real_memalign next_memalign
#else
#define REAL(name) __libc_##name
#define FAKE(name) name
extern void *__libc_malloc(size_t);
extern void __libc_free(void *);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
#define real_memalign __libc_memalign
#endif

static void take(void) {
    while (__sync_lock_test_and_set(&lock, 1)) {
    }
}

static void release(void) { __sync_lock_release(&lock); }

static struct record *table(void) {
    if (!record) {
        void *memory = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) _exit(97);
        if (madvise(memory, sizeof *record, MADV_DONTDUMP) != 0) _exit(98);
        record = memory;
        record->magic = UINT64_C(0x0102030405060708);
    }
    return record;
}

static uint32_t home(uint64_t masked) {
    uint64_t hash = (masked >> 3) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 40) & (CAPACITY - 1);
}

static struct entry *find(uint64_t masked) {
    struct entry *entries = table()->entries;
    uint32_t at = home(masked);
    for (uint32_t step = 0; step < CAPACITY; step++, at = (at + 1) & (CAPACITY - 1)) {
        if (entries[at].masked == masked) return &entries[at];
        if (entries[at].masked == EMPTY) return NULL;
    }
    return NULL;
}

static void add(void *memory, size_t requested) {
    if (!memory) return;
    uint64_t masked = (uint64_t)(uintptr_t)memory ^ MASK;
    size_t usable = malloc_usable_size(memory);
    take();
    struct entry *entries = table()->entries;
    uint32_t at = home(masked);
    uint32_t step = 0;
    /* One entry point of a libc may be built on another, and both be recorded. */
    struct entry *known = find(masked);
    if (known) at = (uint32_t)(known - entries);
    while (!known && entries[at].masked != EMPTY && entries[at].masked != REMOVED && step++ < CAPACITY)
        at = (at + 1) & (CAPACITY - 1);
    if (step < CAPACITY)
        entries[at] = (struct entry){masked, requested, usable, scope};
    else
        record->lost++;
    release();
}

static void drop(void *memory) {
    if (!memory) return;
    take();
    struct entry *entry = find((uint64_t)(uintptr_t)memory ^ MASK);
    if (entry) {
        memset(entry, 0, sizeof *entry);
        entry->masked = REMOVED;
    }
    release();
}

void recorder_label(const void *memory, unsigned label) {
    take();
    struct entry *entry = find((uint64_t)(uintptr_t)memory ^ MASK);
    if (entry) entry->label = label;
    release();
}

void recorder_scope(unsigned label) { scope = label; }

/* Some kilobytes of dead stack are written over, so that nothing stale is left where the signal arrived. */
static __attribute__((noinline)) void scrub(void) {
    volatile char dead[16384];
    for (size_t at = 0; at < sizeof dead; at++) dead[at] = 0;
}

static void write_all(int file, const void *memory, size_t size) {
    const char *bytes = memory;
    while (size > 0) {
        ssize_t done = write(file, bytes, size);
        if (done <= 0) return;
        bytes += done;
        size -= (size_t)done;
    }
}

static void write_record(int number) {
    (void)number;
    int saved = errno;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0) {
        write_all(file, table(), offsetof(struct record, entries));
        /* Runs of taken places go out as they are, masked. */
        uint32_t at = 0;
        while (at < CAPACITY) {
            uint32_t first = at;
            while (at < CAPACITY && record->entries[at].masked > REMOVED) at++;
            if (at > first) write_all(file, &record->entries[first], (at - first) * sizeof(struct entry));
            at++;
        }
        close(file);
    }
    scrub();
    errno = saved;
}

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("TOPLEAKED_RECORD");
    if (!name) return;
    strncpy(path, name, sizeof path - 1);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = write_record;
    action.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
    int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
    for (size_t at = 0; at < sizeof deadly / sizeof *deadly; at++) sigaction(deadly[at], &action, NULL);
}

void *FAKE(malloc)(size_t size) {
    void *memory = REAL(malloc)(size);
    add(memory, size);
    return memory;
}

void FAKE(free)(void *memory) {
    drop(memory);
    REAL(free)(memory);
}

void *FAKE(calloc)(size_t count, size_t size) {
    void *memory = REAL(calloc)(count, size);
    add(memory, count * size);
    return memory;
}

void *FAKE(realloc)(void *old, size_t size) {
    struct entry *entry = NULL;
    uint64_t label = scope;
    take();
    if (old && (entry = find((uint64_t)(uintptr_t)old ^ MASK))) label = entry->label;
    release();
    void *memory = REAL(realloc)(old, size);
    if (memory || size == 0) drop(old);
    if (memory) {
        add(memory, size);
        recorder_label(memory, (unsigned)label);
    }
    return memory;
}

void *FAKE(reallocarray)(void *old, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return FAKE(realloc)(old, count * size);
}

void *FAKE(memalign)(size_t alignment, size_t size) {
    void *memory = real_memalign(alignment, size);
    add(memory, size);
    return memory;
}

void *FAKE(aligned_alloc)(size_t alignment, size_t size) { return FAKE(memalign)(alignment, size); }

int FAKE(posix_memalign)(void **out, size_t alignment, size_t size) {
    void *memory = real_memalign(alignment, size);
    if (!memory) return ENOMEM;
    add(memory, size);
    *out = memory;
    return 0;
}

#ifndef RECORDER_WRAP
void *valloc(size_t size) { return memalign(4096, size); }

void *pvalloc(size_t size) { return memalign(4096, (size + 4095) & ~(size_t)4095); }
#endif
