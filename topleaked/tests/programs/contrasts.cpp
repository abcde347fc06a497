// Objects of one class, some of them dropped, with twelve members. CASE says which member tells the dropped ones from the
// others; SHARE how many of a hundred are dropped; with HOLD all are held. Prints where members are, `@ NAME OFFSET WIDTH`, and how often
// each value is there, `NAME VALUE LIVE DROPPED`.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#ifndef SHARE
#define SHARE 33
#endif
#ifndef HOLD
#define HOLD 0
#endif

enum { ONE_VALUE = 1, NOISY, NULL_POINTER, FLAG, TEXT, NESTED, PAIR, NOTHING };
enum class State : uint32_t { Idle = 1, Reading, Writing, Closing };
enum class Phase : uint8_t { Plain, Hello, Open, Shut };

static uint64_t seed = 88172645463325252ULL;

static uint64_t below(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 20) % limit;
}

// No padding: what was in its place before would be taken for a pointer.
struct Tls { uint32_t version; Phase phase; uint8_t rest[3]; };
struct Conn { uint32_t port; Tls tls; };
static int handlers[3];

struct Client {
    Client(bool dropped, uint32_t serial);
    virtual ~Client() {}
    uint32_t serial;
    State state;
    int *handler;
    uint8_t armed : 1, urgent : 1, kind : 2, spare : 4;
    bool left, right;
    uint8_t rest = 0;
    uint32_t retries;
    Conn conn;
    char label[8];
    double weight;
    uint64_t bytes;
    uint32_t color;
};

// Another class, so that there is something to learn from what is usual.
struct Timer {
    virtual ~Timer() {}
    uint32_t state = 1 + below(4), level = below(5), rank = below(9), count = below(100000);
    int *target = below(2) ? nullptr : handlers + below(3);
    // As wide as a word: what was there before must not show through.
    uint64_t late = below(4) == 0;
};

static void set_label(char *label, const char *text) {
    for (int i = 0; i < 8; i++) label[i] = text[i];
}

Client::Client(bool dropped, uint32_t serial_)
    : serial(serial_), state(State(1 + below(4))), handler(below(4) ? handlers + below(3) : nullptr), armed(below(2)),
      urgent(below(2)), kind(below(4)), spare(0), left(below(2)), right(below(2)), retries(below(6)),
      conn{uint32_t(below(60000)), {uint32_t(10 + below(4)), Phase(below(4)), {}}}, weight(below(1000) / 8.0), bytes(below(1000000)),
      color(below(7)) {
    static const char labels[5][8] = {"alpha", "bravo", "carol", "delta", "probe"};
    set_label(label, labels[below(5)]);
    switch (CASE) {
        case ONE_VALUE: state = dropped ? State::Closing : State(1 + below(3)); break;
        case NOISY: state = dropped || below(100) < 30 ? State::Closing : State(1 + below(3)); break;
        case NULL_POINTER: handler = dropped ? nullptr : handlers + below(3); break;
        case FLAG: armed = !dropped; break;
        case TEXT: set_label(label, labels[dropped ? 4 : below(4)]); break;
        case NESTED: conn.tls.phase = dropped ? Phase::Hello : Phase(below(2) * 2); break;
        case PAIR: right = left ^ dropped; break;
    }
}

static std::vector<Client *> held;
static std::vector<Timer *> timers;
static Client *volatile last;

using Counts = std::map<std::pair<std::string, std::string>, unsigned long[2]>;

static void count(Counts &counts, const Client &client, bool dropped) {
    auto add = [&](const char *name, const std::string &value) { counts[{name, value}][dropped]++; };
    add("state", std::to_string(unsigned(client.state)));
    add("handler", client.handler ? "set" : "null");
    add("armed", std::to_string(client.armed));
    add("kind", std::to_string(client.kind));
    add("left", client.left ? "true" : "false");
    add("retries", std::to_string(client.retries));
    add("conn.tls.version", std::to_string(client.conn.tls.version));
    add("conn.tls.phase", std::to_string(unsigned(client.conn.tls.phase)));
    add("label", "\"" + std::string(client.label) + "\"");
    add("color", std::to_string(client.color));
}

// Not inlined, and the stack is wiped: nothing may still point at what was dropped.
__attribute__((noinline)) static void fill() {
    Counts *counts = new Counts;
    for (uint32_t i = 0; i < 6000; i++) {
        bool dropped = below(100) < SHARE;
        Client *client = new Client(dropped, i);
        if (i % 5 == 0) timers.push_back(new Timer);
        count(*counts, *client, dropped);
        if (!dropped || HOLD) held.push_back(client);
        last = nullptr;
    }
    held.push_back(new Client(false, 6000));
    count(*counts, *held.back(), false);
    const Client &one = *held.back();
    auto at = [&](const char *name, const void *member, size_t width) {
        printf("@ %s %zu %zu\n", name, size_t(static_cast<const char *>(member) - reinterpret_cast<const char *>(&one)), width);
    };
    at("state", &one.state, 4);
    at("handler", &one.handler, sizeof one.handler);
    at("armed", reinterpret_cast<const char *>(&one.handler) + sizeof one.handler, 1);
    at("left", &one.left, 1);
    at("right", &one.right, 1);
    at("label", one.label, 8);
    at("conn.tls.phase", &one.conn.tls.phase, 1);
    for (auto &entry : *counts)
        printf("%s %s %lu %lu\n", entry.first.first.c_str(), entry.first.second.c_str(), entry.second[0], entry.second[1]);
    fflush(stdout);
    delete counts;
}

__attribute__((noinline)) static void wipe() {
    volatile char zero[16384];
    for (unsigned i = 0; i < sizeof zero; i++) zero[i] = 0;
}

int main() {
    fill();
    wipe();
    abort();
}
