// calls SECONDS: calls the functions of tiny.c through the procedure linkage table, below main > calls, millions of
// times. Prints its own CPU clock as JSON at the end; calls of nanoseconds cannot be timed one by one.
#include "chain.h"

unsigned long tiny_saves(unsigned long), tiny_frame(unsigned long), tiny_branch(unsigned long);
unsigned long tiny_outer(unsigned long);

KEEP void calls(long rounds) {
    unsigned long value = 0;
    for (long i = 0; i < rounds; i++) {
        value += tiny_saves(value);
        value += tiny_frame(value);
        value += tiny_branch(value);
        value += tiny_outer(value);
    }
    sink += value;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double seconds = atof(argv[1]);
    while (cpu() < seconds) {
        calls(varied(20000));
        sink++;
    }
    printf("{\"cpu_seconds\": %.6f}\n", cpu());
    return 0;
}
