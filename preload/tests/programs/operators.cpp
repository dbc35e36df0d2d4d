// A program that replaces the operators that everyone replaces, and leaves the sized ones to the
// standard library, which is to lead them here.
#include <cstdio>
#include <cstdlib>
#include <new>

alignas(64) static unsigned char pool[1 << 16];
static std::size_t used, returned;

void *operator new(std::size_t size) {
    void *block = pool + used;
    used += (size + 63) / 64 * 64;
    if (used > sizeof pool) std::abort();
    return block;
}

void operator delete(void *) noexcept { ++returned; }

struct Node {
    Node *next;
    long value[9];
};

int main() {
    for (int index = 0; index < 10; ++index) {
        Node *volatile node = new Node();
        delete node;
        ::operator delete(::operator new(48), std::size_t(48));
        Node *volatile nodes = new Node[3]();
        delete[] nodes;
    }
    std::printf("%zu\n", returned);
    return returned == 30 ? 0 : 1;
}
