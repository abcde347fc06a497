/* Objects of one size whose members each have a way of their own. Prints where they are. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void handler_a(int x) { (void)x; }
static void handler_b(int x) { (void)x; abort(); }
static const char *const NAMES[] = {"a constant text", "another constant text", "a third one"};

struct job {
    struct job *next;
    void (*handler)(int);
    const char *label;
    uint32_t serial;
    uint32_t state;
    uint8_t is_urgent, level;
    uint16_t port;
    uint32_t created;
    char name[24];
    float weight;
    uint32_t flags;
    char *body;
    size_t capacity;
    uint32_t magic;
    uint32_t hash;
};

struct job *head;

static uint64_t mixed(uint64_t seed) {
    seed *= 0x9e3779b97f4a7c15ull;
    seed ^= seed >> 29;
    seed *= 0xbf58476d1ce4e5b9ull;
    return seed ^ seed >> 32;
}

#define SAY(member, role) printf("%zu %zu %s\n", offsetof(struct job, member), sizeof(((struct job *)0)->member), role)

int main(void) {
    for (int i = 0; i < 3000; i++) {
        struct job *job = calloc(1, sizeof *job);
        job->next = head;
        job->handler = mixed(i) % 3 ? handler_a : handler_b;
        job->label = NAMES[mixed(i + 1) % 3];
        job->serial = 70000 + i;
        job->state = 1 + mixed(i + 2) % 5;
        job->is_urgent = mixed(i + 3) % 2;
        job->level = 3 + mixed(i + 4) % 9;
        job->port = mixed(i + 5) % 60000;
        job->created = 1700000000 + mixed(i + 6) % 1000000;
        snprintf(job->name, sizeof job->name, "client-number-%09d", (int)(mixed(i + 7) % 1000000));
        job->weight = 0.5f + (mixed(i + 8) % 1000) / 7.0f;
        job->flags = mixed(i + 9) % 2;
        job->capacity = 200 + mixed(i + 10) % 500;
        job->body = malloc(job->capacity);
        job->magic = 0xfeedbeef;
        job->hash = mixed(i + 11);
        head = job;
    }
    SAY(next, "pointer"); SAY(handler, "pointer"); SAY(label, "pointer"); SAY(serial, "counter"); SAY(state, "state");
    SAY(is_urgent, "flag"); SAY(level, "state"); SAY(port, "number"); SAY(created, "time"); SAY(name, "text");
    SAY(weight, "float"); SAY(flags, "flag"); SAY(body, "pointer"); SAY(capacity, "size"); SAY(magic, "constant");
    SAY(hash, "number");
    printf("size %zu\n", sizeof(struct job));
    fflush(stdout);
    abort();
}
