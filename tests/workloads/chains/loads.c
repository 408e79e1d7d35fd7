// loads SECONDS FIRST SECOND: opens a library, burns some milliseconds in it, closes it, and does the same with another
// of other frames, which the loader mostly puts at the same addresses. Prints its own CPU clock as JSON at the end, and
// how often the address was the one of the library before.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>

#include "chain.h"

static ElfW(Addr) last;
static long same_address, loads;

KEEP double with_library(const char *path, double seconds) {
    void *library = dlopen(path, RTLD_NOW);
    unsigned long (*burn)(long) = library ? (unsigned long (*)(long))dlsym(library, "plug_burn") : NULL;
    if (!burn) {
        fprintf(stderr, "%s: %s\n", path, dlerror());
        exit(1);
    }
    loads++;
    ElfW(Addr) address = ((struct link_map *)library)->l_addr;
    same_address += address == last;
    last = address;
    double start = cpu(), end = start;
    while (end - start < seconds) {
        sink += burn(varied(2000));
        end = cpu();
    }
    dlclose(library);
    return end - start;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    double seconds = atof(argv[1]), shares[2] = {0};
    while (cpu() < seconds) {
        shares[0] += with_library(argv[2], 0.030);
        shares[1] += with_library(argv[3], 0.020);
    }
    printf("{\"first_leaf\": %.6f, \"second_leaf\": %.6f, \"cpu_seconds\": %.6f, \"loads\": %ld, \"same_address\": %ld}\n",
           shares[0], shares[1], cpu(), loads, same_address);
    return 0;
}
