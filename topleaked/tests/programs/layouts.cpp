#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#define SIZE(T) std::printf("%s|%s|%zu\n", #T, "", sizeof(T))
#define AT(T, m) std::printf("%s|%s|%zu\n", #T, #m, offsetof(T, m))

struct Pair { char a; int b; };
namespace net {
enum State { FRESH = 1, CONNECTED = 7, CLOSING = -3 };
union Number { int32_t i; float f; char bytes[7]; };
template <class T, int N> struct Ring { T slots[N]; uint16_t head; };
class Client {
public:
    char kind;
    State state;
    double when;
    Number number;
    Ring<short, 5> ring;
    struct { int x; char y; } pair[3];
    union { long l; char c; };
    void *data;
    int (*callback)(void *, char);
    const char *const *names;
    int matrix[2][3];
    bool ready;
    long double wide;
    struct Nested { char c; int64_t big; } nested;
};
namespace {
struct Hidden { short s; long l; };
}
}
struct Bits { unsigned a : 3; unsigned b : 7; int c : 13; unsigned char d; long e : 40; unsigned : 0; unsigned f : 1; bool g : 1; net::State h : 5; };
struct __attribute__((packed)) Packed { char c; int i; short s; };
struct Empty {};
struct Derived : Empty, Pair { char more; };
struct Virtual { virtual ~Virtual() {} int v; };
struct Left : virtual Virtual { int l; };
struct Right : virtual Virtual { int r; };
struct Diamond : Left, Right { int d; };
struct Flexible { int count; char data[]; };
struct Self { Self *next; Self *const *table; struct Unknown *unknown; };

net::Client client;
Bits bits;
Packed packed;
Derived derived;
Diamond diamond;
net::Hidden hidden;
Self self_;
Flexible *flexible;
std::string text;
std::vector<int> numbers;
std::map<int, std::string> tree;
std::list<int> chain;
std::deque<int> queue;
std::unique_ptr<int> owner;
std::shared_ptr<int> sharer;

/// Writes one bit after the other of one byte array, so that the field's place shows.
template <class F> void place(const char *name, F set) {
    Bits value;
    unsigned char *raw = reinterpret_cast<unsigned char *>(&value);
    __builtin_memset(raw, 0, sizeof value);
    set(value);
    long first = -1, count = 0;
    for (size_t at = 0; at < sizeof value * 8; at++)
        if (raw[at / 8] >> (at % 8) & 1) { if (first < 0) first = long(at); count++; }
    std::printf("Bits|:%s|%ld %ld\n", name, first, count);
}

int main() {
    SIZE(Pair); AT(Pair, a); AT(Pair, b);
    SIZE(net::Client); AT(net::Client, kind); AT(net::Client, state); AT(net::Client, when); AT(net::Client, number);
    AT(net::Client, ring); AT(net::Client, pair); AT(net::Client, l); AT(net::Client, c); AT(net::Client, data); AT(net::Client, callback);
    AT(net::Client, names); AT(net::Client, matrix); AT(net::Client, ready); AT(net::Client, wide); AT(net::Client, nested);
    SIZE(net::Client::Nested); AT(net::Client::Nested, big);
    SIZE(net::Number); SIZE(net::State);
    std::printf("net::Ring<short, 5>||%zu\n", sizeof(net::Ring<short, 5>));
    SIZE(net::Hidden); AT(net::Hidden, l);
    SIZE(Bits); AT(Bits, d);
    place("a", [](Bits &b) { b.a = ~0; }); place("b", [](Bits &b) { b.b = ~0; }); place("c", [](Bits &b) { b.c = -1; });
    place("e", [](Bits &b) { b.e = -1; }); place("f", [](Bits &b) { b.f = ~0; }); place("g", [](Bits &b) { b.g = true; });
    place("h", [](Bits &b) { b.h = net::State(-1); });
    SIZE(Packed); AT(Packed, i); AT(Packed, s);
    SIZE(Derived); AT(Derived, b); AT(Derived, more);
    SIZE(Virtual); SIZE(Left); SIZE(Right); SIZE(Diamond);
    SIZE(Flexible); AT(Flexible, data);
    SIZE(Self); AT(Self, table); AT(Self, unknown);
    SIZE(std::string);
    std::printf("std::vector<int>||%zu\nstd::map<int, std::string>||%zu\n", sizeof numbers, sizeof tree);
    flexible = nullptr;
    hidden.l = long(client.kind);
    __asm__ volatile("" : : "r"(&hidden) : "memory");
    std::fflush(stdout);
    return 0;
}
