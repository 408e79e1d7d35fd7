/* Burns CPU in innermost, inlined into middle, inlined into outer, for the given number of seconds of CPU time. */
#include <stdlib.h>
#include <time.h>

volatile unsigned long sink;

static inline __attribute__((always_inline)) void innermost(unsigned long rounds) {
    for (unsigned long round = 0; round < rounds; round++) {
        sink += round;
    }
}

static inline __attribute__((always_inline)) void middle(unsigned long rounds) {
    innermost(rounds * 3);
}

__attribute__((noinline)) void outer(unsigned long rounds) {
    middle(rounds + 1);
    sink++;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 60;
    while (clock() < seconds * CLOCKS_PER_SEC) {
        outer(1000000);
    }
    return 0;
}
