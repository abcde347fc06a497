#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

enum class State : uint8_t { FRESH, CONNECTED, CLOSING };
enum Flags { READ = 1, WRITE = 2, APPEND = 4 };
struct Tls { State state; int version; };
struct Conn { Tls tls; char peer[16]; };
struct Root { virtual ~Root() {} int shared = 77; };
struct Left : virtual Root { int left = 1; };
struct Right : virtual Root { int right = 2; };
static int callback(int x) { return x; }

struct Client : Left, Right {
    State state = State::CLOSING;
    Flags flags = Flags(READ | APPEND);
    unsigned small : 3;
    int negative : 5;
    bool ready : 1;
    bool on = true;
    int8_t tiny = -7;
    uint64_t large = 0xfedcba9876543210;
    float half = 0.5f;
    double pi = 3.25;
    long double wide = -1.5L;
    char letter = 'x';
    Conn conn = {{State::CONNECTED, 13}, "10.0.0.7"};
    Conn *nothing = nullptr;
    Conn *self = &conn;
    int (*handler)(int) = callback;
    const char *text = "a C string";
    std::string brief = "short";
    std::string long_text = std::string(40, 'y');
    std::string_view view = "a view";
    std::vector<int> vec = {1, 2, 3};
    std::map<int, int> map = {{1, 2}, {3, 4}};
    std::set<int> set = {5};
    std::unordered_map<int, int> hash = {{1, 1}, {2, 2}, {3, 3}, {4, 4}};
    std::list<int> list = {1, 2, 3, 4, 5};
    std::deque<int> deque = std::deque<int>(1000, 1);
    std::optional<int> some = 42;
    std::optional<int> none;
    std::variant<int, double, std::string> either = 2.5;
    std::unique_ptr<int> owner = std::make_unique<int>(1);
    std::unique_ptr<int> free_owner;
    std::shared_ptr<int> sharer = std::make_shared<int>(1);
    std::time_t when = 951782400;
    std::chrono::system_clock::time_point at{std::chrono::seconds(951782400)};
    int matrix[2][2] = {{1, 2}, {3, 4}};
#ifdef __SIZEOF_INT128__
    __int128 below = -5;
    unsigned __int128 above = 7, vast = (unsigned __int128)0x1122334455667788 << 64 | 0x99;
    __float128 quad = 2.5;
#endif
    int Tls::*place = &Tls::version, Tls::*no_place = nullptr;
    void (Client::*no_method)() = nullptr;
    void method() {}
    void (Client::*some_method)() = &Client::method;
    std::atomic<int> counter{3};
    std::atomic<State> mode{State::CONNECTED};
    std::chrono::steady_clock::time_point started{std::chrono::nanoseconds(17)};
    std::variant<int, std::string> held{std::string("x")};
    int many[64] = {};
    bool lamps[40] = {};
    char16_t wide_letters[300] = {};
    union { int as_int = 0x3f800000; float as_float; };
    Client() { many[40] = 77; lamps[20] = true; small = 5; negative = -3; ready = true; }
};

int main() {
    Client *client = new Client;
    std::printf("%p\n", (void *)client);
    std::fflush(stdout);
    __builtin_trap();
}
