// The burners of the call chains: one without a frame of its own, one that saves registers, one with a local array.
#include "chain.h"

// Nothing on the stack, or in the red zone.
KEEP unsigned long alpha(long rounds) {
    unsigned long state = 1;
    for (long i = 0; i < rounds; i++) {
        state = state * 31 + 1;
        __asm__ volatile("" : "+r"(state));
    }
    return state;
}

// Every callee-saved register.
KEEP unsigned long beta(long rounds) {
    unsigned long state = 2;
    for (long i = 0; i < rounds; i++) {
        state = state * 31 + 2;
        __asm__ volatile("" : "+r"(state) : : "rbx", "r12", "r13", "r14", "r15");
    }
    return state;
}

KEEP unsigned long gamma_(long rounds) {
    volatile unsigned long local[24];
    local[0] = 3;
    unsigned long state = 3;
    for (long i = 0; i < rounds; i++) {
        state = state * 31 + local[0];
        __asm__ volatile("" : "+r"(state));
    }
    local[23] = state;
    return state + local[23];
}
