// Burns CPU in a member function of a template, inlined into a function of a namespace, for the given CPU seconds.
#include <cstdlib>
#include <ctime>

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
    double seconds = argc > 1 ? std::atof(argv[1]) : 60;
    while (std::clock() < seconds * CLOCKS_PER_SEC) {
        shop::fill<unsigned long>(1000000);
    }
}
