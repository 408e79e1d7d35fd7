// hand SECONDS: burns in each burner of hand.S below main > via_large_frame > first > via_deref > second >
// via_without_cfi > third > via_own_stack > fourth > via_last_call > fifth > via_kept > keeps > work. Prints its own CPU clock as JSON at the end.
#include "chain.h"

#define BURNERS(OF)                                                                                           \
    OF(burn_r10, 3000), OF(burn_r11, 2500), OF(burn_red_zone, 1500), OF(burn_pushes, 800), OF(burn_states, 1000), \
        OF(burn_deref, 3500), OF(burn_without_cfi, 2000), OF(burn_across, 900)
#define DECLARATION(name, rounds) name(long)
#define ENTRY(name, rounds) {#name, name, rounds, 0}

unsigned long BURNERS(DECLARATION);
void via_large_frame(void (*)(void)), via_deref(void (*)(void)), via_without_cfi(void (*)(void));
void via_own_stack(void (*)(void), char *), via_last_call(void (*)(void)), via_kept(void (*)(void));

static struct burner {
    const char *name;
    unsigned long (*burn)(long);
    long rounds;
    double seconds;
} burners[] = {BURNERS(ENTRY)};
#define COUNT (sizeof burners / sizeof *burners)

static char own_stack[65536] __attribute__((aligned(64)));

KEEP void work(void) {
    for (unsigned i = 0; i < COUNT; i++) {
        double start = cpu();
        sink += burners[i].burn(varied(burners[i].rounds));
        burners[i].seconds += cpu() - start;
    }
}

// Called by via_kept: what it counts is in a register that it saves, over the call.
KEEP void keeps(void (*call)(void)) {
    unsigned long before = sink;
    call();
    sink += before;
}

#define STEP(name, call)  \
    KEEP void name(void) { \
        call;             \
        sink++;           \
    }
STEP(fifth, via_kept(work))
STEP(fourth, via_last_call(fifth))
STEP(third, via_own_stack(fourth, own_stack + sizeof own_stack))
STEP(second, via_without_cfi(third))
STEP(first, via_deref(second))

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double seconds = atof(argv[1]);
    while (cpu() < seconds) via_large_frame(first);
    printf("{");
    for (unsigned i = 0; i < COUNT; i++) printf("\"%s\": %.6f, ", burners[i].name, burners[i].seconds);
    printf("\"cpu_seconds\": %.6f}\n", cpu());
    return 0;
}
