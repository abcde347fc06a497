// Holds and drops objects of many shapes. What is allocated while the recorder's scope is DROPPED is let go: nothing
// in the process refers to it any more when it dies, and everything else is held.
//
// All of it happens in threads whose stacks are unmapped when they end, so that no forgotten copy of a pointer is left
// in a register or on a stack.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <malloc.h>
#include <unistd.h>
#include <signal.h>
#include <sys/wait.h>

#include <any>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "recorder.h"

// Containers take more room than they fill. What was there before would still refer to what was dropped, and a
// search through memory would be right to find it: so all room is cleared when it is handed out.
void *operator new(size_t size) {
    void *memory = malloc(size);
    if (!memory) abort();
    memset(memory, 0, malloc_usable_size(memory));
    return memory;
}
void *operator new[](size_t size) { return operator new(size); }
void operator delete(void *memory) noexcept { free(memory); }
void operator delete(void *memory, size_t) noexcept { free(memory); }
void operator delete[](void *memory) noexcept { free(memory); }
void operator delete[](void *memory, size_t) noexcept { free(memory); }

namespace {
enum Scope { HELD = 0, DROPPED = 1 };

class Scoped {
public:
    explicit Scoped(Scope scope) { RECORDER_SCOPE(scope); }
    ~Scoped() { RECORDER_SCOPE(HELD); }
};

// What the program holds on to; volatile, since nothing reads it.
void *volatile held[256];
int held_count;

template <class T> void hold(T *object) { held[held_count++] = object; }
// The compiler may not see that nothing comes of an object that is dropped.
template <class T> void drop(T *object) { asm volatile("" : : "r"(object) : "memory"); }

template <class Make> void both(Make make) {
    {
        Scoped scope(DROPPED);
        drop(make());
    }
    hold(make());
}

struct Plain {
    virtual ~Plain() = default;
    long number = 7;
};
struct Left {
    virtual ~Left() = default;
    long left = 1;
};
struct Right {
    virtual ~Right() = default;
    long right = 2;
};
struct Multiple : Left, Right {
    long own = 3;
};
struct Top {
    virtual ~Top() = default;
    long top = 4;
};
struct VirtualLeft : virtual Top {
    long left = 5;
};
struct VirtualRight : virtual Top {
    long right = 6;
};
struct Diamond : VirtualLeft, VirtualRight {
    long own = 7;
};
struct Holder {
    long number = 8;
    Plain member;
};
template <class T> struct Box {
    virtual ~Box() = default;
    T inside{};
};
struct WithDestructor {
    ~WithDestructor() { asm volatile("" : : : "memory"); }
    long number = 9;
};

// What only pointers into the middle hold.
Right *volatile second_base;
Top *volatile virtual_base;
Plain *volatile member_with_vtable;
WithDestructor *volatile counted_array;
char *volatile length_in_front;

struct Hook {
    Hook *next;
    Hook *previous;
};
struct Hooked {
    long number;
    Hook hook;
    long more;
};
__attribute__((used)) Hook ring = {&ring, &ring};

struct Ops {
    int (*open)(int);
    int (*close)(int);
};
int device_open(int number) { return number; }
int device_close(int number) { return -number; }
const Ops device_ops = {device_open, device_close};
struct Device {
    const Ops *ops;
    int state;
};

// A chain whose links know the word that leads to them (Linux's `hlist`).
struct ChainLink {
    ChainLink *next;
    ChainLink **previous;
};
struct Chained {
    long number;
    ChainLink link;
};
__attribute__((used)) ChainLink *chain;

// An object in a pool's first block, which it knows; the program holds the object alone.
struct Pooled {
    long number;
    void *pool;
};
Pooled *volatile pooled;

struct Node {
    std::shared_ptr<Node> next;
    std::weak_ptr<Node> back;
    std::string name = std::string(40, 'n');
};

void classes() {
    both([] { return new Plain; });
    both([] { return new Multiple; });
    both([] { return new Diamond; });
    both([] { return new Box<std::vector<int>>; });
    both([] { return new Box<std::string>{}; });
    second_base = new Multiple;
    virtual_base = new Diamond;
    member_with_vtable = &(new Holder)->member;
    counted_array = new WithDestructor[10];
    {
        Scoped scope(DROPPED);
        drop(static_cast<Right *>(new Multiple));
        drop(static_cast<Top *>(new Diamond));
        drop(new WithDestructor[10]);
    }
}

void c_objects() {
    both([] {
        auto *device = static_cast<Device *>(malloc(sizeof(Device)));
        device->ops = &device_ops;
        device->state = 3;
        return device;
    });
    for (Scope kind : {HELD, DROPPED}) {
        Scoped scope(kind);
        Hook own = {&own, &own};
        Hook *list = kind == HELD ? &ring : &own;
        for (int at = 0; at < 5; at++) {
            auto *object = static_cast<Hooked *>(calloc(1, sizeof(Hooked)));
            object->hook.next = list;
            object->hook.previous = list->previous;
            list->previous->next = &object->hook;
            list->previous = &object->hook;
        }
        // The dropped ones hang together without the list's head.
        if (kind == DROPPED) {
            own.next->previous = own.previous;
            own.previous->next = own.next;
        }
    }
    for (Scope kind : {HELD, DROPPED}) {
        Scoped scope(kind);
        ChainLink *own = nullptr, **first = kind == HELD ? &chain : &own;
        for (int at = 0; at < 5; at++) {
            auto *object = static_cast<Chained *>(calloc(1, sizeof(Chained)));
            object->link.next = *first;
            object->link.previous = first;
            if (*first) (*first)->previous = &object->link.next;
            *first = &object->link;
        }
    }
    size_t length = 100;
    char *bytes = static_cast<char *>(malloc(sizeof length + length));
    memcpy(bytes, &length, sizeof length);
    length_in_front = bytes + sizeof length;
    for (Scope kind : {HELD, DROPPED}) {
        Scoped scope(kind);
        char *pool = static_cast<char *>(calloc(1, 4000));
        auto *object = reinterpret_cast<Pooled *>(pool + 128);
        object->pool = pool;
        if (kind == HELD) pooled = object;
        drop(object);
    }
    both([] { return malloc(1 << 20); });
    both([] { return aligned_alloc(4096, 8192); });
    both([] { return aligned_alloc(256, 300 << 10); });
    both([] { return malloc(1); });
    // A chain: only its first one is held.
    for (Scope kind : {HELD, DROPPED}) {
        Scoped scope(kind);
        void **next = nullptr;
        for (int at = 0; at < 3000; at++) {
            auto **node = static_cast<void **>(malloc(3 * sizeof(void *)));
            memset(node, 0, 3 * sizeof(void *));
            node[1] = next;
            next = node;
        }
        if (kind == HELD) hold(next);
    }
}

std::string text(int number) { return "a text that is too long for the object itself " + std::to_string(number); }

void containers() {
    both([] { return new std::string(100, 's'); });
    both([] { return new std::string("short"); });
    both([] {
        auto *vector = new std::vector<std::string>;
        for (int at = 0; at < 50; at++) vector->push_back(text(at));
        return vector;
    });
    both([] { return new std::vector<std::vector<int>>(10, std::vector<int>(10, 1)); });
    both([] {
        auto *list = new std::list<std::string>;
        for (int at = 0; at < 20; at++) list->push_back(text(at));
        return list;
    });
    both([] {
        auto *list = new std::forward_list<std::string>;
        for (int at = 0; at < 20; at++) list->push_front(text(at));
        return list;
    });
    both([] {
        auto *map = new std::map<int, std::string>;
        for (int at = 0; at < 100; at++) (*map)[at * 37 % 101] = text(at);
        return map;
    });
    both([] {
        auto *set = new std::set<std::string>;
        for (int at = 0; at < 50; at++) set->insert(text(at));
        return set;
    });
    both([] {
        auto *map = new std::multimap<int, int>;
        for (int at = 0; at < 50; at++) map->emplace(at / 3, at);
        return map;
    });
    both([] {
        auto *map = new std::unordered_map<std::string, int>;
        for (int at = 0; at < 100; at++) (*map)[text(at)] = at;
        return map;
    });
    both([] {
        auto *set = new std::unordered_set<int>;
        for (int at = 0; at < 100; at++) set->insert(at * 7919);
        return set;
    });
    both([] {
        auto *deque = new std::deque<std::string>;
        for (int at = 0; at < 200; at++) deque->push_back(text(at));
        // What is popped leaves its bytes behind, so it gives its text back first; and not so many that a block goes,
        // whose address would stay.
        for (int at = 0; at < 10; at++) {
            deque->front() = std::string();
            deque->front().shrink_to_fit();
            deque->pop_front();
        }
        return deque;
    });
    both([] {
        auto *queue = new std::priority_queue<int>;
        for (int at = 0; at < 100; at++) queue->push(at);
        return queue;
    });
    both([] {
        auto *objects = new std::vector<std::unique_ptr<Plain>>;
        for (int at = 0; at < 20; at++) objects->push_back(std::make_unique<Plain>());
        return objects;
    });
    both([] { return new std::function<int()>([array = std::vector<int>(30, 2), big = std::string(50, 'f')] {
        return static_cast<int>(array.size() + big.size());
    }); });
    both([] { return new std::any(std::string(60, 'y')); });
}

void shared_pointers() {
    both([] { return new std::shared_ptr<Plain>(new Plain); });
    both([] { return new std::shared_ptr<Plain>(std::make_shared<Plain>()); });
    both([] { return new std::shared_ptr<Right>(std::make_shared<Multiple>()); });
    both([] { return new std::unique_ptr<Right>(std::make_unique<Multiple>()); });
    both([] { return new std::weak_ptr<Plain>(std::make_shared<Plain>()); });
    for (int length : {1, 2, 7}) {
        both([length] {
            auto *first = new std::shared_ptr<Node>(std::make_shared<Node>());
            auto last = *first;
            for (int at = 1; at < length; at++) {
                last->next = std::make_shared<Node>();
                last->next->back = last;
                last = last->next;
            }
            last->next = *first;
            return first;
        });
        // The cycle alone: its first pointer goes out of scope.
        Scoped scope(DROPPED);
        auto first = std::make_shared<Node>();
        auto last = first;
        for (int at = 1; at < length; at++) {
            last->next = std::make_shared<Node>();
            last->next->back = last;
            last = last->next;
        }
        last->next = first;
    }
}

// A string behind a packed header of length and capacity, which the program holds by its first character alone (redis,
// `sds.h`). `width` 0 has its length in the byte in front.
char *headed(size_t width, const char *content, size_t spare) {
    size_t length = strlen(content), header = width ? 2 * width + 1 : 1;
    char *memory = static_cast<char *>(calloc(1, header + length + spare + 1));
    size_t capacity = length + spare;
    for (size_t byte = 0; byte < width && byte < sizeof length; byte++) {
        memory[byte] = static_cast<char>(length >> 8 * byte);
        memory[width + byte] = static_cast<char>(capacity >> 8 * byte);
    }
    memory[header - 1] = static_cast<char>(width ? (width == 1 ? 1 : width == 2 ? 2 : width == 4 ? 3 : 4) : length << 3);
    memcpy(memory + header, content, length);
    return memory + header;
}

// A length of four bytes and some flags in front of the text.
char *counted_text(const char *content) {
    unsigned front[2] = {static_cast<unsigned>(strlen(content)), 0x7001};
    char *memory = static_cast<char *>(calloc(1, sizeof front + front[0] + 1));
    memcpy(memory, front, sizeof front);
    memcpy(memory + sizeof front, content, front[0]);
    return memory + sizeof front;
}

void strings() {
    for (const char *content : {"key:123456", "a value that is longer than most, with more than enough characters in it"}) {
        for (size_t width : {0, 1, 2, 4, 8}) {
            if (width == 0 && strlen(content) > 31) continue;
            both([=] { return headed(width, content, 0); });
            if (width) both([=] { return headed(width, content, 9); });
        }
        both([=] { return counted_text(content); });
    }
}

enum { DOUBTFUL = 2 };

// Held by nothing but pointers into the middle that prove nothing: what a search or a parser leaves behind.
void stale_interiors() {
    Scoped scope(static_cast<Scope>(DOUBTFUL));
    for (size_t skipped : {1, 2, 3, 5, 8, 9, 16, 17}) {
        hold(strdup("some text, with a needle in it somewhere, and more of it") + skipped);
        auto *numbers = static_cast<long *>(calloc(12, sizeof(long)));
        for (int at = 0; at < 12; at++) numbers[at] = at * 1000 + 777;
        hold(reinterpret_cast<char *>(numbers) + skipped);
        auto *bytes = static_cast<unsigned char *>(calloc(1, 60));
        for (int at = 0; at < 60; at++) bytes[at] = static_cast<unsigned char>(at);
        hold(bytes + skipped);
    }
    // The string's own second word, and a string whose length is that of another.
    hold(headed(1, "two words", 0) + 4);
    hold(headed(1, "cut short", 0));
    const_cast<char *>(static_cast<const char *>(held[held_count - 1]))[-3] = 4;
    hold(counted_text("its length was changed"));
    reinterpret_cast<unsigned *>(held[held_count - 1])[-2] -= 3;
}

// What is given back is neither held nor dropped.
void churn() {
    std::vector<void *> blocks;
    for (int at = 0; at < 2000; at++) blocks.push_back(malloc(16 + at % 700));
    for (size_t at = 0; at < blocks.size(); at++)
        if (at % 5 != 0) free(blocks[at]);
    auto *kept = new std::vector<void *>;
    for (size_t at = 0; at < blocks.size(); at += 5) kept->push_back(blocks[at]);
    hold(kept);
}

std::vector<std::string> *volatile growing;

void grow() {
    auto *vector = new std::vector<std::string>;
    for (int at = 0; at < 20000; at++) vector->push_back(text(at));
    growing = vector;
}

void *run(void *function) {
    reinterpret_cast<void (*)()>(function)();
    return nullptr;
}

// Runs it on a stack that is gone afterwards.
void in_thread(void (*function)()) {
    size_t size = 1 << 20;
    void *stack = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, size);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, run, reinterpret_cast<void *>(function)) != 0) _exit(96);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    munmap(stack, size);
}

// A thread that waits, and holds something by its stack alone.
void *wait_with_object(void *) {
    Plain *object = new Plain;
    auto *list = new std::list<int>{1, 2, 3};
    for (;;) {
        asm volatile("" : : "r"(object), "r"(list) : "memory");
        pause();
        drop(object);
        drop(list);
    }
    return nullptr;
}
}  // namespace

int main(int count, char **arguments) {
    const char *state = count > 1 ? arguments[1] : "all";
    if (strcmp(state, "grow") == 0) {
        in_thread(grow);
        abort();
    }
    if (strcmp(state, "stale-interiors") == 0) {
        in_thread(stale_interiors);
        abort();
    }
    if (strcmp(state, "no-brk") == 0) {
        // The page behind the heap is taken: the main arena goes on in mappings.
        char *end = static_cast<char *>(sbrk(0));
        size_t page = 4096;
        mmap(end + page, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    }
    if (strcmp(state, "main-arena") == 0 || strcmp(state, "no-brk") == 0) {
#ifdef M_ARENA_MAX
        mallopt(M_ARENA_MAX, 1);
#endif
    }
    if (strcmp(state, "cached-stacks") == 0) {
        // Threads on stacks of the library's own, which it keeps for the next ones.
        for (void (*part)() : {classes, containers}) {
            pthread_t thread;
            if (pthread_create(&thread, nullptr, run, reinterpret_cast<void *>(part)) != 0) _exit(95);
            pthread_join(thread, nullptr);
        }
        abort();
    }
    for (void (*part)() : {classes, c_objects, containers, shared_pointers, strings, churn}) in_thread(part);
    if (strcmp(state, "threads") == 0) {
        for (int at = 0; at < 3; at++) {
            pthread_t thread;
            if (pthread_create(&thread, nullptr, wait_with_object, nullptr) != 0) _exit(94);
        }
        usleep(200000);
    }
    if (strcmp(state, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) abort();
        int status;
        waitpid(child, &status, 0);
        signal(SIGABRT, SIG_DFL);
    }
    abort();
}
