// Burns CPU in a member function of a template, inlined into a function of a namespace, for the given seconds.
#include <chrono>
#include <cstdlib>

namespace shop {

volatile unsigned long sink;

template <typename T> struct Cart {
    inline __attribute__((always_inline)) void add(T rounds) {
        for (T round = 0; round < rounds; round++) {
            sink = sink + round;
        }
    }
};

template <typename T> __attribute__((noinline)) void fill(T rounds) {
    Cart<T> cart;
    cart.add(rounds * 3);
    sink = sink + 1;
}

}

int main(int argc, char **argv) {
    auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(argc > 1 ? std::atof(argv[1]) : 60);
    while (std::chrono::steady_clock::now() < end) {
        shop::fill<unsigned long>(1000000);
    }
}
