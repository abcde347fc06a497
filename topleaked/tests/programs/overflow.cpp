// An object that writes over its end, among others of other classes.
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace net {
struct Parser {
    virtual ~Parser() {}
    char line[64];
};
struct Reply {
    virtual ~Reply() {}
    long words[9];
};
}  // namespace net

net::Reply *volatile replies[40];
net::Parser *volatile parser;

int main() {
    for (int at = 0; at < 40; at++) {
        if (at == 20) parser = new net::Parser;
        replies[at] = new net::Reply;
    }
    std::printf("parser %p\n", static_cast<void *>(parser));
    std::fflush(stdout);
    volatile size_t length = sizeof parser->line + 24;
    std::memset(const_cast<char *>(parser->line), 'A', length);
    std::abort();
}
