/* Structures without vtables, reached from global variables, in known numbers. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

struct item { struct item *next; struct owner *owner; long serial; char pad[50]; };
struct owner { const char *name; struct item *favourite; int *scores; size_t count; double weight; };
struct leaf { int key; struct leaf *left, *right; void *opaque; };
typedef struct table { struct entry **buckets; size_t size; } table;
struct entry { struct entry *next; char *key; unsigned hash; };
struct points { struct point *list; size_t count; };
struct point { struct owner *owner; double x, y; };
struct packet { size_t size; struct packet *previous; struct item *items[]; };
struct circle { double radius, a, b, c, d; };
struct square { struct item *item; struct square *next; long c, d, e; };
union shape { struct circle *circle; struct square *square; };
struct tagged { int tag; union shape shape; };
struct hidden;
struct slot { long key, value; void *opaque; };
struct kind { const char *name; void (*close)(void *); };
struct stream { struct kind *kind; struct item *first; long c[9]; };
struct twin_a { long x[29]; struct item *p; };
struct twin_b { long y[30]; };

struct item *head;
struct leaf *root;
table names;
struct points *cloud;
struct packet *packets;
struct tagged tagged[8];
struct hidden *handle;
void *anything;
struct kind files = {"files", free}, sockets = {"sockets", free};
struct stream *known_stream;
void *streams[70];
struct twin_a *first_name;
struct twin_b *second_name;
struct owner *owners[40];
/* Many pages of .bss: the first one belongs to the file's segment, the others to the one behind it. */
struct slot *slots[5000];

static void *zeroed(size_t size) { return calloc(1, size); }

static struct leaf *grow(int depth) {
    if (!depth) return NULL;
    struct leaf *leaf = zeroed(sizeof *leaf);
    leaf->key = depth;
    leaf->opaque = anything;
    leaf->left = grow(depth - 1);
    leaf->right = grow(depth - 1);
    return leaf;
}

int main(void) {
    anything = zeroed(200);
    for (int i = 0; i < 40; i++) {
        owners[i] = zeroed(sizeof(struct owner));
        owners[i]->name = "static";
        owners[i]->scores = zeroed(100 * sizeof(int));
        owners[i]->count = 100;
    }
    for (int i = 0; i < 5000; i++) {
        struct item *item = zeroed(sizeof *item);
        item->next = head;
        item->owner = owners[i % 40];
        head = item;
    }
    owners[3]->favourite = zeroed(sizeof(struct item));
    root = grow(10);
    names.size = 1024;
    names.buckets = zeroed(names.size * sizeof *names.buckets);
    for (int i = 0; i < 3000; i++) {
        struct entry *entry = zeroed(sizeof *entry);
        entry->key = malloc(40);
        sprintf(entry->key, "key-%d", i);
        entry->next = names.buckets[i % 700];
        names.buckets[i % 700] = entry;
    }
    cloud = zeroed(sizeof *cloud);
    cloud->count = 333;
    cloud->list = zeroed(cloud->count * sizeof(struct point));
    for (size_t i = 0; i < cloud->count; i++) cloud->list[i].owner = owners[i % 40];
    for (int i = 0; i < 20; i++) {
        struct packet *packet = zeroed(sizeof *packet + 30 * sizeof(struct item *));
        packet->size = 30;
        for (int j = 0; j < 30; j++) packet->items[j] = zeroed(sizeof(struct item));
        packet->previous = packets;
        packets = packet;
    }
    for (int i = 0; i < 8; i++) {
        tagged[i].tag = i % 2;
        if (tagged[i].tag) {
            tagged[i].shape.circle = malloc(sizeof(struct circle));
            *tagged[i].shape.circle = (struct circle){1.5, 2.5, 3.5, 4.5, 5.5};
        } else {
            tagged[i].shape.square = zeroed(sizeof(struct square));
            tagged[i].shape.square->item = head;
        }
    }
    for (int i = 0; i < 5000; i += 5) slots[i] = zeroed(sizeof(struct slot));
    handle = zeroed(500);
    /* Behind void *, but each begins with its table of functions. */
    for (int i = 0; i < 70; i++) {
        struct stream *stream = zeroed(sizeof *stream);
        stream->kind = i % 2 ? &files : &sockets;
        stream->first = zeroed(sizeof(struct item));
        streams[i] = stream;
    }
    known_stream = streams[0];
    /* One object under two names. */
    void *twofold = zeroed(sizeof(struct twin_a));
    first_name = twofold;
    second_name = twofold;
    abort();
}
