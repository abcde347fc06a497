// Containers of the standard library, reached from global variables, in known numbers.
#include <cstdlib>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

struct A { long a[6]; };
struct B { long b[8]; };
struct C { long c[10]; };
struct D { long d[12]; };
struct E { long e[14]; };
struct F { long f[16]; };
struct G { long g[18]; };
struct H { long h[20]; };
struct I { long i[22]; };
struct J { long j[24]; };
struct K { long k[26]; };
struct Node { std::unique_ptr<Node> left, right; std::vector<std::unique_ptr<A>> held; };

std::vector<A *> pointers;
std::vector<B> values;
std::map<int, C *> by_number;
std::map<std::string, std::unique_ptr<D>> by_name;
std::unordered_map<long, E *> hashed;
std::list<F *> listed;
std::forward_list<G *> forward;
std::deque<H *> queued;
static std::unique_ptr<Node> tree;
std::shared_ptr<I> shared(new I());
std::optional<J *> maybe;
std::variant<int, K *, A *> either;
std::set<std::string> texts;
std::vector<std::vector<std::pair<int, B *>>> nested;

static std::unique_ptr<Node> grow(int depth) {
    if (!depth) return nullptr;
    auto node = std::make_unique<Node>();
    node->left = grow(depth - 1);
    node->right = grow(depth - 1);
    for (int i = 0; i < 3; i++) node->held.push_back(std::make_unique<A>());
    return node;
}

int main() {
    for (int i = 0; i < 500; i++) pointers.push_back(new A());
    values.resize(77);
    for (int i = 0; i < 400; i++) by_number[i] = new C();
    for (int i = 0; i < 300; i++) by_name["a name that is longer than the string " + std::to_string(i)] = std::make_unique<D>();
    for (int i = 0; i < 600; i++) hashed[i * 7] = new E();
    for (int i = 0; i < 150; i++) listed.push_back(new F());
    for (int i = 0; i < 120; i++) forward.push_front(new G());
    for (int i = 0; i < 1000; i++) queued.push_back(new H());
    tree = grow(6);
    maybe = new J();
    either = new K();
    for (int i = 0; i < 90; i++) texts.insert("another text that does not fit inside " + std::to_string(i));
    nested.resize(10);
    for (auto &inner : nested) for (int i = 0; i < 4; i++) inner.push_back({i, new B()});
    std::abort();
}
