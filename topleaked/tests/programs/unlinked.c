// Sessions that a table holds, some of them taken out of it: no pointer leads to what leaked, and nothing but pointers tells the type.
// CASE says what the leaked ones have in common. Prints how many of them there are, and how many are held.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIT = 1, SHARD, USER, TRIES, LACK, BURST, PORT, USERS };
enum state { IDLE, ACTIVE, DRAINING, CLOSING };
struct shard { uint64_t number, load; struct shard *next; };
struct detail { uint64_t bytes, packets; };
struct session {
    struct session *prev;
    struct shard *shard;
    struct detail *detail;
    void (*done)(struct session *);
    enum state state;
    uint32_t flags;
    uint32_t tries;
    int32_t err;
    char user[12];
    uint32_t port;
    double ratio;
};

#define COUNT 12000
static uint64_t seed = 88172645463325252ULL;
static uint64_t below(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 20) % limit;
}

static void done_a(struct session *session) { session->err = 1; }
static void done_b(struct session *session) { session->err = 2; }
static struct session **tables[40];
static struct shard *shards[64];
static void *volatile last;

static void fill_in(struct session *session, int leaks, int i) {
    session->done = below(2) ? done_a : done_b;
    session->shard = shards[below(64)];
    // What a leaked one owns has no type either: that tells nothing.
    session->detail = below(3) ? calloc(1, sizeof *session->detail) : NULL;
    session->state = below(4);
    session->flags = below(1 << 16) & ~0x40u;
    session->tries = below(6);
    session->err = below(3) ? 0 : -(int)below(5);
    session->port = 1024 + below(60000);
    session->ratio = below(1000) / 8.0;
    snprintf(session->user, sizeof session->user, "user%d", (int)below(200));
    switch (CASE) {
        case BIT: if (leaks || below(100) < 3) session->flags |= 0x40; break;
        case SHARD: if (leaks) session->shard = shards[7]; break;
        case USER: if (leaks) strcpy(session->user, "user77"); break;
        case TRIES: session->tries = leaks ? 5 + below(8) : below(6); break;
        case LACK: session->state = leaks ? 1 + below(3) : IDLE; break;
        case BURST: session->state = leaks ? CLOSING : i >= 5000 && i < 5400 ? below(3) : below(10) < 2 ? CLOSING : below(3); break;
        case PORT: if (leaks) session->port = 8080; break;
        case USERS: snprintf(session->user, sizeof session->user, "user%d", 100 + (leaks ? 7 * (int)below(14) : 7 * (int)below(14) + 1 + (int)below(6))); break;
    }
}

__attribute__((noinline)) static void fill(void) {
    int leaked = 0;
    for (int i = 0; i < 64; i++) {
        shards[i] = calloc(1, sizeof *shards[i]);
        shards[i]->number = i;
        shards[i]->next = i ? shards[i - 1] : NULL;
    }
    for (int i = 0; i < 40; i++) tables[i] = calloc(300, sizeof *tables[i]);
    for (int i = 0; i < COUNT; i++) {
        int leaks = CASE == BURST ? i >= 5000 && i < 5400 && below(4) == 0 : below(100) < (CASE == SHARD || CASE == USER ? 2 : 20);
        struct session *session = calloc(1, sizeof *session);
        fill_in(session, leaks, i);
        leaked += leaks;
        tables[i / 300][i % 300] = leaks ? NULL : session;
        last = NULL;
    }
    printf("%d %d\n", leaked, COUNT - leaked);
    fflush(stdout);
}

__attribute__((noinline)) static void wipe(void) {
    volatile char zero[16384];
    for (unsigned i = 0; i < sizeof zero; i++) zero[i] = 0;
}

int main(void) {
    fill();
    wipe();
    abort();
}
