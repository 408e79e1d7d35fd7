// big SECONDS INDEX…: burns below main > big_INDEX > … > work, functions of a generated file that call one another by
// a list. Prints its own CPU clock as JSON at the end.
#define _GNU_SOURCE
#include <dlfcn.h>

#include "chain.h"

#define MOST 64

static double shares[3];

KEEP void work(void **rest) {
    BURN(shares);
    sink += rest != NULL;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > MOST) return 2;
    void *list[MOST];
    int count = 0;
    for (int i = 2; i < argc; i++) {
        char name[16];
        snprintf(name, sizeof name, "big_%06d", atoi(argv[i]));
        list[count++] = dlsym(RTLD_DEFAULT, name);
        if (!list[count - 1]) return 1;
    }
    list[count] = work;
    double seconds = atof(argv[1]);
    while (cpu() < seconds) {
        ((void (*)(void **))list[0])(list + 1);
        sink++;
    }
    print_truth(shares);
    return 0;
}
