// The workload of the guest: a chain of calls whose every function is known, deep enough for several links of tail calls.
//
//     _start > … > main > outer > descend (DEPTH times) > spin
//
// `chain CPU` never ends and keeps itself on that CPU whenever the CPU is there; `chain` alone ends after a second of
// CPU time.
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum { DEPTH = 40 };

#define KEPT __attribute__((noipa))

static volatile unsigned seed = 1;

KEPT unsigned spin(unsigned rounds) {
    unsigned value = seed;
    while (rounds--)
        value = value * 1664525 + 1013904223;
    return value;
}

// Adding makes the call no tail call.
KEPT unsigned descend(unsigned depth, unsigned rounds) {
    return depth > 1 ? descend(depth - 1, rounds) + depth : spin(rounds) + depth;
}

KEPT unsigned outer(unsigned rounds) { return descend(DEPTH, rounds) + rounds; }

int main(int count, char **words) {
    for (;;) {
        if (count > 1) {
            cpu_set_t cpus;
            CPU_ZERO(&cpus);
            CPU_SET(atoi(words[1]), &cpus);
            sched_setaffinity(0, sizeof cpus, &cpus);
        } else if (clock() > CLOCKS_PER_SEC) {
            return 0;
        }
        // Rounds of varied length are never in step with the sampler.
        seed = outer(1000000 + seed % 500000);
    }
}
