// mapped SECONDS COUNT: burns below main > outer > work in a process with COUNT executable mappings more than it needs.
// Prints its own CPU clock as JSON at the end.
#include <fcntl.h>
#include <sys/mman.h>

#include "chain.h"

KEEP void work(double *shares) {
    BURN(shares);
    sink++;
}

KEEP void outer(double *shares) {
    work(shares);
    sink++;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double seconds = atof(argv[1]), shares[3] = {0};
    long count = atol(argv[2]);
    int self = open("/proc/self/exe", O_RDONLY);
    // The same page again and again: neighbours do not become one mapping.
    for (long i = 0; i < count; i++) {
        if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0) == MAP_FAILED) {
            perror("mmap");
            return 1;
        }
    }
    while (cpu() < seconds) outer(shares);
    print_truth(shares);
    return 0;
}
