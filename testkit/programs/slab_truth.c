/* Heaps for allocators that keep slabs of one size; the first argument says which state. What it holds at its death is in
 * the recorder's file, what it let go is labelled. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder.h"

enum { DROPPED = 1, PLACES = 16384 };

/* Volatile: what is stored and never read would not be stored. */
static void *volatile kept[PLACES];
static unsigned kept_count;

static __attribute__((noinline)) void keep(void *memory) {
    if (kept_count == PLACES) _exit(6);
    kept[kept_count++] = memory;
}

static __attribute__((noinline)) void let_go(void *memory) {
    /* Nothing in it may lead to another. */
    memset(memory, 0x11, malloc_usable_size(memory));
    RECORDER_LABEL(memory, DROPPED);
}

/* Of each size three are kept, one let go, three given back: the thread's cache has some, their slabs others. */
static __attribute__((noinline)) void one_size(size_t size) {
    void *blocks[7];
    for (unsigned at = 0; at < 7; at++) {
        blocks[at] = malloc(size);
        memset(blocks[at], 0, size);
    }
    for (unsigned at = 0; at < 7; at++) {
        if (at % 2)
            free(blocks[at]);
        else if (at == 4)
            let_go(blocks[at]);
        else
            keep(blocks[at]);
    }
    memset(blocks, 0, sizeof blocks);
}

/* Every size class up to some megabytes: four to each doubling, and those in between. */
static void classes(void) {
    for (size_t size = 1; size <= 256; size++) one_size(size);
    for (size_t base = 256; base <= (size_t)4 << 20; base *= 2)
        for (unsigned step = 1; step <= 4; step++) {
            one_size(base + step * (base / 4));
            one_size(base + step * (base / 4) - 1);
        }
}

/* More of one size than any cache keeps, given back in no order. */
static void full_caches(void) {
    static void *blocks[6000];
    for (size_t size = 16; size <= 4096; size *= 2) {
        for (unsigned at = 0; at < 6000; at++) blocks[at] = malloc(size);
        for (unsigned at = 0; at < 6000; at++) {
            unsigned place = at * 7919 % 6000;
            if (place % 5) {
                free(blocks[place]);
            } else if (place % 25) {
                keep(blocks[place]);
            } else {
                let_go(blocks[place]);
            }
        }
    }
    /* Lists that are idle for long are emptied: these are the last. */
    for (size_t size = 16; size <= 1024; size += 16) {
        for (unsigned at = 0; at < 5; at++) blocks[at] = malloc(size);
        for (unsigned at = 0; at < 5; at++) free(blocks[at]);
    }
    memset(blocks, 0, sizeof blocks);
}

static void changed(void) {
    for (unsigned at = 0; at < 300; at++) {
        void *memory = malloc(1 + at * 37);
        memory = realloc(memory, 1 + at * 501);
        if (at % 3 == 0) memory = realloc(memory, 1 + at * 11);
        keep(memory);
    }
    for (size_t alignment = 16; alignment <= (size_t)4 << 20; alignment *= 2) {
        keep(aligned_alloc(alignment, alignment * 3));
        void *memory = NULL;
        if (posix_memalign(&memory, alignment, 100)) _exit(4);
        keep(memory);
        keep(calloc(alignment, 3));
        let_go(aligned_alloc(alignment, alignment * 2));
        free(aligned_alloc(alignment, alignment * 2));
    }
}

enum { THREADS = 5, EACH = 4000 };

static pthread_barrier_t barrier;
static void *handed_over[THREADS][EACH];

static __attribute__((noinline)) void work(uintptr_t number) {
    uint32_t own = 777 + (uint32_t)number;
    for (unsigned at = 0; at < EACH; at++) {
        own = own * 1664525 + 1013904223;
        size_t size = 1 + (own >> 12) % (at % 50 ? 700 : 60000);
        handed_over[number][at] = malloc(size);
        memset(handed_over[number][at], 0, size);
    }
    pthread_barrier_wait(&barrier);
    /* What another thread allocated is given back by this one. */
    void **others = handed_over[(number + 1) % THREADS];
    for (unsigned at = 0; at < EACH; at++) {
        if (at % 4 == 0) continue;
        if (at % 16 == 1) {
            let_go(others[at]);
        } else {
            free(others[at]);
        }
        others[at] = NULL;
    }
}

/* What calls left below the frames in use may become part of a later frame, unwritten. */
static __attribute__((noinline)) void scrub(void) {
    volatile char dead[65536];
    for (size_t at = 0; at < sizeof dead; at++) dead[at] = 0;
}

static void *thread_main(void *argument) {
    work((uintptr_t)argument);
    scrub();
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    return NULL;
}

static void *short_lived(void *argument) {
    for (unsigned at = 0; at < 500; at++) free(malloc(at * 3));
    return argument;
}

static void threads(void) {
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_t thread;
    for (unsigned at = 0; at < 4; at++) {
        if (pthread_create(&thread, NULL, short_lived, NULL)) _exit(3);
        pthread_join(thread, NULL);
    }
    for (uintptr_t at = 1; at < THREADS; at++)
        if (pthread_create(&thread, NULL, thread_main, (void *)at)) _exit(3);
    work(0);
    scrub();
    pthread_barrier_wait(&barrier);
    usleep(50000);
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "classes";
    if (!strcmp(what, "classes")) {
        classes();
    } else if (!strcmp(what, "caches")) {
        full_caches();
    } else if (!strcmp(what, "changed")) {
        changed();
    } else if (!strcmp(what, "threads")) {
        threads();
    } else if (!strcmp(what, "fork")) {
        threads();
        pid_t child = fork();
        if (child == 0) {
            changed();
            scrub();
            abort();
        }
        int status;
        waitpid(child, &status, 0);
        kill(getpid(), SIGKILL);
    }
    scrub();
    abort();
}
