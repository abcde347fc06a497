// COUNT objects of 56 bytes with twelve members beside the vtable, a third of them dropped and left in one state. Aborts with
// all of it in memory. Build with -DCOUNT=10000000.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

enum class State : uint8_t { Idle = 1, Reading, Writing, Closing };

struct Client {
    Client(bool dropped, uint32_t serial);
    virtual ~Client() {}
    uint32_t serial;
    State state;
    uint8_t armed : 1, urgent : 1, kind : 2;
    uint16_t port;
    int32_t retries;
    uint32_t color;
    Client *next;
    void *handler;
    double weight;
    uint64_t bytes;
};
static_assert(sizeof(Client) == 56, "as many bytes as the figures are for");

static uint64_t seed = 88172645463325252ULL;

static uint64_t below(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 20) % limit;
}

static int handlers[5];
static Client *volatile head;

Client::Client(bool dropped, uint32_t serial_)
    : serial(serial_), state(dropped ? State::Closing : State(1 + below(3))), armed(below(2)), urgent(below(8) == 0), kind(below(4)),
      port(below(60000)), retries(int(below(5)) - 1), color(below(200)), next(nullptr), handler(handlers + below(5)),
      weight(below(1000000) / 8.0),
      bytes(below(1 << 30)) {}

__attribute__((noinline)) static void fill() {
    for (uint32_t i = 0; i < COUNT; i++) {
        bool dropped = below(3) == 0;
        Client *client = new Client(dropped, i);
        // The dropped ones point at what lives, so that their members look alike.
        client->next = head;
        if (!dropped) head = client;
    }
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
