// A library for loads.c: plug_burn > MIDDLE > LEAF, with WIDTH bytes on the stack of the middle one.
#include "chain.h"

KEEP unsigned long LEAF(long rounds) {
    unsigned long state = WIDTH;
    for (long i = 0; i < rounds; i++) {
        state = state * 31 + WIDTH;
        __asm__ volatile("" : "+r"(state));
    }
    return state;
}

KEEP unsigned long MIDDLE(long rounds) {
    volatile char local[WIDTH];
    local[rounds & 7] = 1;
    return LEAF(rounds) + (unsigned long)local[rounds & 7];
}

unsigned long plug_burn(long rounds) { return MIDDLE(rounds) + sink; }
