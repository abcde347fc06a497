// Objects of one class, half of them dropped: the dropped ones are in one state far more often. Ten other members have nothing
// to do with it. Prints the counts, by group and state.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

enum class State : uint32_t { Idle = 1, Reading, Writing, Closing };

struct Job {
    Job(bool dropped, uint64_t serial);
    virtual ~Job() {}
    uint64_t serial_;
    State state_;
    uint32_t priority_;
    bool urgent_;
    uint8_t kind_;
    uint16_t port_;
    int32_t retries_;
    Job *parent_;
    double weight_;
    uint64_t bytes_;
    uint32_t color_;
    uint32_t pad_;
};

static uint64_t seed = 88172645463325252ULL;

static uint64_t below(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 20) % limit;
}

Job::Job(bool dropped, uint64_t serial)
    : serial_(serial),
      state_(static_cast<State>(SIGNAL && dropped ? (below(100) < 90 ? 4 : 1 + below(3)) : 1 + below(4))),
      priority_(below(5)), urgent_(below(2)), kind_(below(3)), port_(below(60000)), retries_(static_cast<int32_t>(below(4)) - 1),
      parent_(nullptr), weight_(below(1000) / 8.0), bytes_(below(1000000)), color_(below(7)), pad_(0) {}

static std::vector<Job *> held;
static Job *volatile last;

// Not inlined, and the stack is wiped: nothing may still point at what was dropped.
__attribute__((noinline)) static void fill() {
    unsigned long counts[2][5] = {};
    for (uint64_t i = 0; i < 6000; i++) {
        bool dropped = below(3) == 0;
        Job *job = new Job(dropped, i);
        counts[dropped][static_cast<uint32_t>(job->state_)]++;
        if (!dropped) held.push_back(job);
        last = nullptr;
    }
    held.push_back(new Job(false, 6000));
    counts[0][static_cast<uint32_t>(held.back()->state_)]++;
    for (auto &group : counts) printf("%lu %lu %lu %lu\n", group[1], group[2], group[3], group[4]);
    fflush(stdout);
}

__attribute__((noinline)) static void wipe() {
    volatile char zero[8192];
    for (unsigned i = 0; i < sizeof zero; i++) zero[i] = 0;
}

int main() {
    fill();
    wipe();
    abort();
}
