// Burns CPU in a function whose symbol is a piece of HTML, until SIGTERM or for the given seconds; prints its own thread
// CPU clock as JSON at the end.
#include <stdio.h>
#include <stdlib.h>

#include "burn.h"

// The assembler takes any character between quotes.
void image(long rounds) __asm__("\"<img src=x onerror=alert(1)>\"");

__attribute__((noinline, noclone)) void image(long rounds) {
    FRAME;
    for (long i = 0; i < rounds; i++) sink = sink * 31 + 1;
}

int main(int argc, char **argv) {
    signal(SIGTERM, on_term);
    double seconds = argc > 1 ? atof(argv[1]) : 1e9;
    while (!stop && cpu() < seconds) image(100000);
    printf("{\"cpu_seconds\": %.6f}\n", cpu());
    return 0;
}
