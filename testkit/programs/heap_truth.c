/* Heaps in known states; the first argument says which. What it holds at its death is in the recorder's file. */
#define _GNU_SOURCE
#ifdef SECOND_LIBC
#include <dlfcn.h>
#endif
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder.h"

/* Linux 4.17 and glibc 2.28; older headers lack it. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { LIVE = 1, DROPPED = 2 };

static uint32_t seed = 12345;

static uint32_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

struct client {
    uint32_t id;
    uint32_t state;
    struct client *next;
    char name[40];
};

static struct client *clients;

static void class_that_leaks(void) {
    for (uint32_t at = 0; at < 3000; at++) {
        struct client *client = malloc(sizeof *client);
        client->id = at;
        client->state = at % 7;
        client->next = NULL;
        memset(client->name, 'a' + (int)(at % 26), sizeof client->name);
        if (at % 3 == 0) {
            client->next = clients;
            clients = client;
            RECORDER_LABEL(client, LIVE);
        } else {
            RECORDER_LABEL(client, DROPPED);
        }
    }
}

static void *slots[20000];

/* Allocations of many sizes, of which many are given back in no order: bins of all kinds get filled. */
static void churn(unsigned rounds, unsigned places, size_t most) {
    for (unsigned round = 0; round < rounds; round++) {
        unsigned at = next_random() % places;
        if (slots[at] && next_random() % 3) {
            free(slots[at]);
            slots[at] = NULL;
        } else if (!slots[at]) {
            size_t size = 1 + next_random() % (next_random() % 8 ? 200 : most);
            slots[at] = malloc(size);
            memset(slots[at], (int)(size % 251), size);
        } else {
            slots[at] = realloc(slots[at], 1 + next_random() % most);
        }
    }
}

static pthread_barrier_t barrier;
static int large = 1;

static void *thread_main(void *argument) {
    uintptr_t number = (uintptr_t)argument;
    uint32_t own = 777 + (uint32_t)number;
    void *held[512] = {0};
    for (unsigned round = 0; round < 6000; round++) {
        own = own * 1664525 + 1013904223;
        unsigned at = (own >> 8) % 512;
        if (held[at]) {
            free(held[at]);
            held[at] = NULL;
        } else {
            held[at] = malloc(8 + (own >> 16) % 900);
        }
    }
    /* One arena grows past its first heap. */
    if (number == 0 && large)
        for (unsigned at = 0; at < 800; at++) memset(malloc(100000), 1, 100000);
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    return held[0];
}

static void threads(void) {
    pthread_barrier_init(&barrier, NULL, 7);
    for (uintptr_t at = 0; at < 6; at++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_main, (void *)at)) _exit(3);
    }
    pthread_barrier_wait(&barrier);
    usleep(50000);
}

/* Blocks that each of several threads gave back last, which lie in its cache when the process dies. */
static void *caching_thread(void *argument) {
    void *blocks[5][6];
    for (unsigned size = 0; size < 5; size++)
        for (unsigned at = 0; at < 6; at++) blocks[size][at] = malloc(40 + 64 * size);
    /* A cache keeps seven blocks of a size, so that none of these goes elsewhere. */
    for (unsigned size = 0; size < 5; size++)
        for (unsigned at = 0; at < 6; at++) free(blocks[size][at]);
    char text[4096];
    size_t length = 0;
    for (unsigned size = 0; size < 5; size++)
        for (unsigned at = 0; at < 6; at++)
            length += (size_t)sprintf(text + length, "cached %u %p\n", 40 + 64 * size, blocks[size][at]);
    if (write(STDOUT_FILENO, text, length) < 0) _exit(3);
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    return argument;
}

static void thread_caches(void) {
    pthread_barrier_init(&barrier, NULL, 5);
    for (uintptr_t at = 0; at < 4; at++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, caching_thread, NULL)) _exit(3);
    }
    pthread_barrier_wait(&barrier);
    usleep(50000);
}

/* Each list of this thread's cache full, and more of each size given back than fits. */
static void full_caches(void) {
    static void *blocks[64][12];
    for (unsigned size = 0; size < 64; size++)
        for (unsigned at = 0; at < 12; at++) {
            blocks[size][at] = malloc(24 + 16 * size);
            /* Keeps neighbours from being joined. */
            (void)!malloc(24);
        }
    for (unsigned size = 0; size < 64; size++)
        for (unsigned at = 0; at < 12; at++) free(blocks[size][at]);
}

static void fastbins(void) {
    static void *blocks[7][400];
    for (unsigned size = 0; size < 7; size++)
        for (unsigned at = 0; at < 400; at++) blocks[size][at] = malloc(sizeof(void *) * (1 + 2 * size));
    for (unsigned at = 0; at < 400; at++)
        for (unsigned size = 0; size < 7; size++)
            if (at % 5) free(blocks[size][at]);
}

static void *kept[64];

static void mapped(void) {
    for (unsigned at = 0; at < 10; at++) {
        kept[at] = malloc(200000 + 70000 * at);
        kept[10 + at] = aligned_alloc((size_t)64 << at, (size_t)(64 << at) * (1 + at));
        if (posix_memalign(&kept[20 + at], (size_t)8192 << at, 300000 + 1000 * at)) _exit(4);
        kept[30 + at] = calloc(3, 150000 + at);
    }
    free(kept[3]);
    free(kept[23]);
    kept[34] = realloc(kept[34], 5000000);
    kept[5] = realloc(kept[5], 150000);
}

/* A mapping right behind the heap keeps it from growing there. */
static void blocked(void) {
    for (unsigned at = 0; at < 100; at++) kept[at % 64] = malloc(100 + at);
    char *end = sbrk(0);
    if (mmap(end, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) _exit(5);
    churn(60000, 20000, 3000);
}

static void foreign_sbrk(void) {
    churn(20000, 5000, 2000);
    char *own = sbrk(12345);
    memset(own, 0x5a, 12345);
    churn(40000, 20000, 2000);
    own = sbrk(100);
    memset(own, 0x21, 100);
    churn(40000, 20000, 2000);
}

/* Many blocks, of which few stay: the rest is free, and cannot go back. */
static void fragmented(unsigned one_stays_of) {
    static void *blocks[30000];
    for (unsigned at = 0; at < 30000; at++) blocks[at] = malloc(1000);
    for (unsigned at = 0; at < 30000 - 1; at++) {
        if (at % one_stays_of) free(blocks[at]);
    }
}

#ifdef SECOND_LIBC
/* Another copy of the library, with a heap of its own, as a plugin that brings one along has it. */
static void another_copy(void) {
    static void *theirs[6000];
    void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    if (!libc) _exit(6);
    void *(*allocate)(size_t) = (void *(*)(size_t))dlsym(libc, "malloc");
    void (*release)(void *) = (void (*)(void *))dlsym(libc, "free");
    size_t (*usable)(void *) = (size_t (*)(void *))dlsym(libc, "malloc_usable_size");
    for (unsigned at = 0; at < 6000; at++) {
        theirs[at] = allocate(at % 500 ? 1 + next_random() % 900 : 200000 + at);
        memset(theirs[at], 't', 1);
    }
    for (unsigned at = 0; at < 6000; at += 3) release(theirs[at]);
    for (unsigned at = 0; at < 6000; at++) {
        if (at % 3) printf("block %zu %p\n", usable(theirs[at]), theirs[at]);
    }
    fflush(stdout);
}
#endif

static void die(void) {
    abort();
}

/* A row of blocks, the middle one of which is written over its end. */
static void damage(const char *how) {
    static char *row[40];
    churn(5000, 800, 600);
    for (unsigned at = 0; at < 40; at++) {
        row[at] = malloc(120);
        memset(row[at], 'r', 120);
    }
    char *middle = row[20];
    printf("row %p\n", (void *)middle);
    for (unsigned at = 0; at < 40; at++) printf("block %u %p\n", at, (void *)row[at]);
    fflush(stdout);
    if (!strcmp(how, "overflow")) {
        memset(middle, 'X', malloc_usable_size(middle) + 2 * sizeof(void *));
    } else if (!strcmp(how, "one-byte")) {
        middle[malloc_usable_size(middle)] = 'A';
    } else if (!strcmp(how, "wild")) {
        ((uintptr_t *)middle)[-1] = (uintptr_t)0x12345678;
    } else if (!strcmp(how, "double")) {
        /* What a double free leaves where the check for it is evaded: a list that leads back to itself. */
        volatile uintptr_t *freed = (uintptr_t *)row[10];
        free(row[10]);
        freed[0] = freed[1] = 0;
        free((void *)freed);
    }
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "leak";
    if (!strcmp(what, "leak")) {
        class_that_leaks();
    } else if (!strcmp(what, "churn")) {
        churn(200000, 20000, 5000);
        class_that_leaks();
    } else if (!strcmp(what, "threads")) {
        churn(20000, 2000, 2000);
        threads();
    } else if (!strcmp(what, "thread-caches")) {
        thread_caches();
    } else if (!strcmp(what, "caches")) {
        full_caches();
    } else if (!strcmp(what, "fastbins")) {
        fastbins();
    } else if (!strcmp(what, "mapped")) {
        churn(2000, 500, 2000);
        mapped();
    } else if (!strcmp(what, "blocked")) {
        blocked();
    } else if (!strcmp(what, "sbrk")) {
        foreign_sbrk();
    } else if (!strcmp(what, "all")) {
        /* A little of everything, for dumps that are kept. */
        large = 0;
        churn(5000, 700, 1500);
        class_that_leaks();
        full_caches();
        fastbins();
        mapped();
        threads();
    } else if (!strcmp(what, "fragment")) {
        fragmented(3);
    } else if (!strcmp(what, "holes")) {
        fragmented(40);
#ifdef SECOND_LIBC
    } else if (!strcmp(what, "two")) {
        churn(20000, 2000, 2000);
        another_copy();
    } else if (!strcmp(what, "three")) {
        /* Each of the three has mapped blocks. */
        mapped();
        churn(20000, 2000, 2000);
        another_copy();
        another_copy();
#endif
    } else if (!strcmp(what, "fork")) {
        churn(20000, 2000, 2000);
        threads();
        pid_t child = fork();
        if (child == 0) {
            churn(20000, 2000, 2000);
            abort();
        }
        int status;
        waitpid(child, &status, 0);
        kill(getpid(), SIGKILL);
    } else {
        damage(what);
    }
    die();
    return 0;
}
