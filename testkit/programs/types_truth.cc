// Holds and drops objects of many types, and notes the kind of each allocation with the recorder: a number of `Kind`, and
// DROPPED on top for what it lets go.
//
// All of it happens in a thread whose stack is unmapped when it ends, so that no forgotten copy is left on a stack.
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "recorder.h"

enum Kind : unsigned {
    NONE = 0,
    LIST_NODE = 1,
    TREE_NODE = 2,
    HASH_NODE = 3,
    HASH_BUCKETS = 4,
    DEQUE_MAP = 5,
    DEQUE_BLOCK = 6,
    VECTOR_BODY = 7,
    STRING_BODY = 8,
    PLAIN = 9,
    MULTIPLE = 10,
    DIAMOND = 11,
    ROW = 12,
    HOLDER = 13,
    SHARED_OBJECT = 14,
    CONTROL_BLOCK = 15,
    OWNED = 16,
    DEVICE = 17,
    TEXT = 18,
    BOX = 19,
    LIST_NODE_OF_PLAIN = 20,
    WIDE_STRING_BODY = 21,
    STRING_BODY_OF_2_BYTES = 22,
    WIDE_TEXT = 23,
    MEASURED_TEXT = 24,
    DROPPED = 0x100,
};

static unsigned dropped;

static void *cleared(size_t size) {
    void *memory = malloc(size);
    if (!memory) abort();
    memset(memory, 0, malloc_usable_size(memory));
    return memory;
}
void *operator new(size_t size) { return cleared(size); }
void *operator new[](size_t size) { return cleared(size); }
void operator delete(void *memory) noexcept { free(memory); }
void operator delete(void *memory, size_t) noexcept { free(memory); }
void operator delete[](void *memory) noexcept { free(memory); }
void operator delete[](void *memory, size_t) noexcept { free(memory); }

namespace {
// Labels what a container allocates: what has the type of a pointer is a table of nodes or blocks.
template <class T, unsigned K> struct Tag {
    using value_type = T;
    template <class U> struct rebind {
        using other = Tag<U, K>;
    };
    Tag() = default;
    template <class U> Tag(const Tag<U, K> &) {}
    T *allocate(size_t count) {
        void *memory = cleared(count * sizeof(T));
        unsigned kind = K;
        if (std::is_pointer<T>::value && K == HASH_NODE) kind = HASH_BUCKETS;
        if (std::is_pointer<T>::value && K == DEQUE_BLOCK) kind = DEQUE_MAP;
        RECORDER_LABEL(memory, kind | dropped);
        return static_cast<T *>(memory);
    }
    void deallocate(T *memory, size_t count) {
        memset(memory, 0, count * sizeof(T));
        free(memory);
    }
    bool operator==(const Tag &) const { return true; }
    bool operator!=(const Tag &) const { return false; }
};

class Labelled {
public:
    explicit Labelled(Kind kind) { RECORDER_SCOPE(kind | dropped); }
    ~Labelled() { RECORDER_SCOPE(dropped); }
};

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
    long more = 9;
    Plain member;
};
template <class T> struct Box {
    virtual ~Box() = default;
    T inside{};
};
struct Session {
    long number = 11;
    std::shared_ptr<Session> next;
};
struct Ops {
    int (*open)(int);
    int (*close)(int);
};
int device_open(int number) { return number; }
int device_close(int number) { return -number; }
extern const Ops device_ops;
__attribute__((used)) const Ops device_ops = {device_open, device_close};
struct Device {
    const Ops *ops;
    long state;
};

// Looks like a node of a tree and belongs to none.
struct Twig {
    long colour;
    Twig *parent, *left, *right;
};
// Looks like a node of a list and belongs to none that knows its length.
struct Bead {
    Bead *next, *previous;
    long number;
};
struct Slice {
    char *start;
    size_t length;
    size_t room;
};

template <class T> using Vector = std::vector<T, Tag<T, VECTOR_BODY>>;
using String = std::basic_string<char, std::char_traits<char>, Tag<char, STRING_BODY>>;
using WideString = std::basic_string<wchar_t, std::char_traits<wchar_t>, Tag<wchar_t, WIDE_STRING_BODY>>;
using StringOf2Bytes = std::basic_string<char16_t, std::char_traits<char16_t>, Tag<char16_t, STRING_BODY_OF_2_BYTES>>;
template <class T> using List = std::list<T, Tag<T, LIST_NODE>>;
template <class T> using Set = std::set<T, std::less<T>, Tag<T, TREE_NODE>>;
template <class K, class V> using Map = std::map<K, V, std::less<K>, Tag<std::pair<const K, V>, TREE_NODE>>;
template <class K, class V>
using HashMap = std::unordered_map<K, V, std::hash<K>, std::equal_to<K>, Tag<std::pair<const K, V>, HASH_NODE>>;
template <class T> using HashSet = std::unordered_set<T, std::hash<T>, std::equal_to<T>, Tag<T, HASH_NODE>>;
template <class T> using Deque = std::deque<T, Tag<T, DEQUE_BLOCK>>;

struct Owners {
    long number = 1;
    List<int> list;
    List<int> single;
    List<String> texts;
    std::list<Plain, Tag<Plain, LIST_NODE_OF_PLAIN>> objects;
    Set<long> set;
    Set<int> lonely;
    Map<int, String> map;
    Map<int, long> ascending;
    HashMap<int, long> hash_map;
    HashSet<long> hash_set;
    HashMap<long, String> hash_texts;
    Deque<int> deque;
    Deque<long> queue;
    Vector<int> vector;
    Vector<String> strings;
    Vector<long> room;
    String text;
    String grown;
    WideString wide;
    StringOf2Bytes of_2_bytes;
    std::vector<void *> others;
};

String text(int number) {
    return String("a text that is too long for the object itself ") + String(std::to_string(number).c_str());
}

Owners *fill() {
    auto *owners = new Owners;
    for (int at = 1; at <= 40; at++) {
        owners->list.push_back(at);
        owners->texts.push_back(text(at));
        owners->set.insert(at * 7919 % 1009);
        owners->map[at * 37 % 101] = text(at);
        owners->ascending[at] = at;
        owners->hash_map[at * 31] = at;
        owners->hash_set.insert(at * 1000003L);
        owners->hash_texts[at] = text(at);
        owners->strings.push_back(text(at));
    }
    owners->single.push_back(5);
    owners->lonely.insert(5);
    for (int at = 0; at < 7; at++) owners->objects.emplace_back();
    for (int at = 0; at < 5000; at++) owners->deque.push_back(at);
    for (int at = 0; at < 3000; at++) owners->queue.push_back(at);
    for (int at = 0; at < 900; at++) owners->vector.push_back(at);
    owners->vector.shrink_to_fit();
    owners->room.reserve(100);
    owners->room.push_back(1);
    owners->text = text(1);
    owners->wide = L"a wide title of some length";
    owners->of_2_bytes = u"a title of two bytes a character";
    for (int at = 0; at < 300; at++) owners->grown.push_back(static_cast<char>('a' + at % 26));
    return owners;
}

template <class T, class Make> void add(Owners *owners, Kind kind, Make make) {
    T *object;
    {
        Labelled label(kind);
        object = make();
    }
    owners->others.push_back(object);
}

void add_objects(Owners *owners) {
    add<Plain>(owners, PLAIN, [] { return new Plain; });
    add<Multiple>(owners, MULTIPLE, [] { return new Multiple; });
    add<Right>(owners, MULTIPLE, [] { return static_cast<Right *>(new Multiple); });
    add<Diamond>(owners, DIAMOND, [] { return new Diamond; });
    add<Top>(owners, DIAMOND, [] { return static_cast<Top *>(new Diamond); });
    add<Plain>(owners, ROW, [] { return new Plain[5]; });
    add<Plain>(owners, ROW, [] { return new Plain[1]; });
    add<Holder>(owners, HOLDER, [] { return new Holder; });
    add<Box<int>>(owners, BOX, [] { return new Box<int>; });
    add<char>(owners, TEXT, [] { return strdup("a message that somebody copied"); });
    add<wchar_t>(owners, WIDE_TEXT, [] {
        const wchar_t content[] = L"a wide message that somebody copied";
        return static_cast<wchar_t *>(memcpy(cleared(sizeof content), content, sizeof content));
    });
    for (size_t width : {1, 2, 4}) {
        add<char>(owners, MEASURED_TEXT, [width] {
            const char content[] = "a value that a header measures";
            size_t header = 2 * width + 1;
            char *memory = static_cast<char *>(cleared(header + sizeof content));
            memory[0] = memory[width] = sizeof content - 1;
            memory[header - 1] = static_cast<char>(width == 1 ? 1 : width == 2 ? 2 : 3);
            memcpy(memory + header, content, sizeof content);
            return memory;
        });
    }
    add<Device>(owners, DEVICE, [] {
        auto *device = static_cast<Device *>(cleared(sizeof(Device)));
        device->ops = &device_ops;
        return device;
    });
}

std::vector<std::shared_ptr<Session>> *add_shared() {
    auto *shared = new std::vector<std::shared_ptr<Session>>;
    for (int at = 0; at < 3; at++) {
        // A cycle, so that what is dropped keeps itself.
        std::shared_ptr<Session> first = std::allocate_shared<Session>(Tag<Session, SHARED_OBJECT>());
        Session *owned;
        {
            Labelled label(OWNED);
            owned = new Session;
        }
        std::shared_ptr<Session> second;
        {
            Labelled label(CONTROL_BLOCK);
            second = std::shared_ptr<Session>(owned);
        }
        first->next = second;
        second->next = first;
        shared->push_back(first);
    }
    return shared;
}

void add_noise(Owners *owners) {
    auto *parent = new Twig{0, nullptr, nullptr, nullptr};
    parent->left = new Twig{1, parent, nullptr, nullptr};
    parent->right = new Twig{0, parent, nullptr, nullptr};
    owners->others.push_back(parent);
    Bead *beads[4];
    for (auto *&bead : beads) bead = new Bead{nullptr, nullptr, 77};
    for (int at = 0; at < 4; at++) {
        beads[at]->next = beads[(at + 1) % 4];
        beads[at]->previous = beads[(at + 3) % 4];
    }
    owners->others.push_back(beads[0]);
    auto *slice = new Slice{static_cast<char *>(cleared(500)), 17, 64};
    owners->others.push_back(slice);
}

void *volatile held[8];

void *everything(void *) {
    for (unsigned scope : {0u, static_cast<unsigned>(DROPPED)}) {
        dropped = scope;
        RECORDER_SCOPE(dropped);
        Owners *owners = fill();
        add_objects(owners);
        add_noise(owners);
        auto *shared = add_shared();
        if (!dropped) {
            held[0] = owners;
            held[1] = shared;
        }
        asm volatile("" : : "r"(owners), "r"(shared) : "memory");
    }
    return nullptr;
}
}  // namespace

int main() {
    size_t size = 1 << 20;
    void *stack = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, size);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, everything, nullptr) != 0) _exit(96);
    pthread_join(thread, nullptr);
    munmap(stack, size);
    abort();
}
