/* Burns CPU in innermost, inlined into middle, inlined into outer, for the given number of seconds. */
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
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        outer(1000000);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    return 0;
}
