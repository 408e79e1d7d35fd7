// Burns one second of CPU in before_exec, prints how much as a line of JSON, then executes the program and the arguments
// given. The thread CPU clock runs on through exec.
#include <stdio.h>
#include <unistd.h>

#include "burn.h"

__attribute__((noinline, noclone)) void before_exec(long rounds) {
    FRAME;
    for (long i = 0; i < rounds; i++) sink = sink * 31 + 1;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    while (cpu() < 1.0) before_exec(100000);
    printf("{\"before_exec\": %.6f}\n", cpu());
    fflush(stdout);
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 1;
}
