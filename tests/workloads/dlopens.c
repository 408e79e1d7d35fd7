// Opens a library, burns in its plugin_burn, closes it, and does the same with another one, which the loader mostly puts
// at the same addresses: 50 : 30, and 20 in own_burn. dlopens FIRST SECOND [SECONDS]; ends with SIGTERM, too. The shares
// are those of its own thread CPU clock, printed as JSON at the end.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "burn.h"

__attribute__((noinline, noclone)) void own_burn(long rounds) {
    FRAME;
    for (long i = 0; i < rounds; i++) sink = sink * 31 + 1;
}

// Seconds burnt in the library; at_same_address counts how often it came where the one before had been.
static double with_library(const char *path, double seconds, int *at_same_address) {
    static void *last;
    void *library = dlopen(path, RTLD_NOW);
    void (*burn)(long) = library ? (void (*)(long))dlsym(library, "plugin_burn") : NULL;
    if (!burn) {
        fprintf(stderr, "%s: %s\n", path, dlerror());
        exit(1);
    }
    *at_same_address += (void *)burn == last;
    last = (void *)burn;
    double start = cpu(), end = start;
    while (end - start < seconds) {
        burn(50000);
        end = cpu();
    }
    dlclose(library);
    return end - start;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    signal(SIGTERM, on_term);
    double seconds = argc > 3 ? atof(argv[3]) : 1e9, first = 0, second = 0, own = 0;
    int same = 0;
    while (!stop && cpu() < seconds) {
        first += with_library(argv[1], 0.25, &same);
        second += with_library(argv[2], 0.15, &same);
        double start = cpu();
        while (cpu() - start < 0.1) own_burn(50000);
        own += cpu() - start;
    }
    printf("{\"first_burn\": %.6f, \"second_burn\": %.6f, \"own_burn\": %.6f, \"cpu_seconds\": %.6f, "
           "\"at_same_address\": %d}\n", first, second, own, cpu(), same);
    return 0;
}
